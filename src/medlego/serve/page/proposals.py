"""Edits as people make them: proposed, measured against the gate, then made or dropped."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from medlego.errors import CheckError, GeneralistError, MedLegoError
from medlego.evaluation import GateReport, check
from medlego.generalist import Generalist, Stamp, editing, with_gate
from medlego.serve.page.settings import PageGate
from medlego.serve.service import Service
from medlego.support import Progress

Status = Literal["checking", "ready", "refused", "made"]

_NOT_TAKEN_IN = (
    "edit: made, and expected the service to answer with it, got a directory that it cannot read; "
    "the state before it answers, and the service's log says why"
)


@dataclass(frozen=True, eq=False)
class Proposal:
    """An edit under way. `after` and `report` are there once it was tried, `problem` if it fails,
    or was made and is not what answers.

    `report` stays None where there are no labelled images for any task. `key` is what a page that
    showed it calls it by, so that nobody makes or drops another one than was seen.
    """

    words: str
    stamp: Stamp
    status: Status = "checking"
    before: Generalist | None = None
    after: Generalist | None = None
    report: GateReport | None = None
    problem: str = ""
    key: str = field(default_factory=lambda: secrets.token_hex(8))


class Desk:
    """One proposal at a time, which everybody who is signed in sees."""

    def __init__(self, service: Service, gate: PageGate | None) -> None:
        self._service, self._gate = service, gate
        self._task: asyncio.Task[None] | None = None
        self.proposal: Proposal | None = None
        self.progress: tuple[str, int, int] = ("", 0, 0)
        """What is measured at the moment, and how far."""

    def propose(self, words: str, change: Callable[[Generalist], Generalist], stamp: Stamp) -> None:
        """Try an edit and measure it, in a thread.

        Args:
            words: what it is, for people.
            change: the edit of a generalist.
            stamp: when and by whom.

        Raises:
            GeneralistError: another is measured at the moment.
        """
        self._idle()
        self.proposal = Proposal(words, stamp)
        self.progress = ("", 0, 0)
        self._task = asyncio.create_task(self._measure(self.proposal, change))

    def drop(self, key: str) -> None:
        """Forget the proposal.

        Raises:
            GeneralistError: it is measured at the moment, or another took its place.
        """
        self._seen(key)
        self.proposal = None

    async def make(self, key: str) -> None:
        """Put the proposed state in the place of the present one.

        Raises:
            CheckError: it did not pass its gate.
            GeneralistError: another proposal took its place, or the directory was edited meanwhile.
        """
        proposal = self._seen(key)
        if proposal.status != "ready":
            raise CheckError("edit: expected a proposal that may be made, got none; propose it")
        assert proposal.before is not None
        assert proposal.after is not None
        self.proposal = replace(proposal, status="checking")
        try:
            await asyncio.to_thread(self._commit, proposal.before, proposal.after)
        except MedLegoError as error:
            self.proposal = replace(proposal, status="refused", problem=str(error))
            raise
        except BaseException:
            self.proposal = replace(
                proposal, status="refused", problem="edit: failed while it was made"
            )
            raise
        told = "" if self._service.keeper.problem is None else _NOT_TAKEN_IN
        self.proposal = replace(proposal, status="made", problem=told)

    def _idle(self) -> None:
        if self.proposal is not None and self.proposal.status == "checking":
            raise GeneralistError("edit: expected no other at work, got one; wait until it is done")

    def _seen(self, key: str) -> Proposal:
        """The proposal, if it is the one that the caller was shown and nothing is at work."""
        self._idle()
        if self.proposal is None or self.proposal.key != key:
            raise GeneralistError(
                "edit: expected the proposal that was shown, got another in its place; reload"
            )
        return self.proposal

    async def _measure(
        self, proposal: Proposal, change: Callable[[Generalist], Generalist]
    ) -> None:
        try:
            self.proposal = await asyncio.to_thread(self._try, proposal, change)
        except MedLegoError as error:
            self.proposal = replace(proposal, status="refused", problem=str(error))
        except BaseException:
            self.proposal = replace(
                proposal, status="refused", problem="edit: failed while it was measured"
            )
            raise

    def _try(self, proposal: Proposal, change: Callable[[Generalist], Generalist]) -> Proposal:
        model = self._service.model
        before = model.generalist
        after = change(before)
        tried = replace(proposal, before=before, after=after, status="ready")
        if self._gate is None:
            return tried
        datasets = self._gate.read(after.tasks, self._show)
        required = {task.name for task in after.tasks} & set(self._gate.limits.require)
        if not datasets and not required:
            return tried
        report = check(after, before, datasets, self._gate.limits, base=model.base, show=self._show)
        if not report.passed:
            return replace(tried, report=report, status="refused")
        gated = with_gate(after.lineage, report.as_dict(), proposal.stamp)
        return replace(tried, report=report, after=replace(after, lineage=gated))

    @property
    def _show(self) -> Progress:
        def show(what: str, done: int, total: int) -> None:
            if not self._service.open:  # its end does not wait for what nobody will see
                raise GeneralistError(
                    "edit: expected an open service, got one that ends; propose it to the next"
                )
            self.progress = (what, done, total)

        return show

    def _commit(self, before: Generalist, after: Generalist) -> None:
        with editing(self._service.keeper.directory):
            after.commit(self._service.keeper.directory, after=before)
        self._service.keeper.check()
