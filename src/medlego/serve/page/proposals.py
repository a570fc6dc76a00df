"""Edits as people make them: previewed, evaluated against the gate, then applied or discarded."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from medlego.data import Dataset, Task
from medlego.errors import GeneralistError, MedLegoError
from medlego.evaluation import GateLimits, GateReport, check
from medlego.generalist import Generalist, Stamp, editing, with_gate
from medlego.serve.service import Service
from medlego.support import Progress, ShortRepr

Status = Literal["evaluating", "ready", "rejected", "applied"]
Edit = Callable[[Generalist], Generalist]

_NOT_LOADED = (
    "edit: applied, and expected the service to load the new state, got a directory that it cannot "
    "read; the previous state answers, and the service's log says why"
)


@dataclass(frozen=True, eq=False, repr=False)
class PageGate(ShortRepr):
    """What an edit must pass: limits, and labelled images for some tasks."""

    limits: GateLimits
    read: Callable[[Sequence[Task], Progress], Mapping[str, Dataset]]
    """The data sets of the tasks that there are images for."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """An edit under way.

    `after` and `report` are there once it was evaluated, without `report` where there are no
    labelled images for any task. `problem` says why it was rejected, or why the applied state does
    not answer. `key` identifies the proposal that a page showed, so that nobody applies or discards
    one that they have not seen.
    """

    description: str
    stamp: Stamp
    status: Status = "evaluating"
    before: Generalist | None = None
    after: Generalist | None = None
    report: GateReport | None = None
    problem: str = ""
    key: str = field(default_factory=lambda: secrets.token_hex(8))


class Proposals:
    """One proposal at a time, which everybody who is signed in sees."""

    def __init__(self, service: Service, gate: PageGate | None) -> None:
        self._service, self._gate = service, gate
        self._task: asyncio.Task[None] | None = None
        self.current: Proposal | None = None
        self.progress: tuple[str, int, int] = ("", 0, 0)
        """What is evaluated at the moment, and how far."""

    def preview(self, description: str, edit: Edit, stamp: Stamp) -> None:
        """Try an edit and evaluate it, in a thread.

        Args:
            description: what it is, for people.
            edit: the edit of a generalist.
            stamp: when and by whom.

        Raises:
            GeneralistError: another is evaluated at the moment.
        """
        self._check_idle()
        self.current = Proposal(description, stamp)
        self.progress = ("", 0, 0)
        self._task = asyncio.create_task(self._evaluate(self.current, edit))

    def discard(self, key: str) -> None:
        """Forget the proposal.

        Raises:
            GeneralistError: it is evaluated at the moment, or another took its place.
        """
        self._find(key)
        self.current = None

    async def apply(self, key: str) -> None:
        """Replace the present state by the proposed one.

        Raises:
            GeneralistError: it did not pass its gate, another took its place, or the directory was
                edited meanwhile.
        """
        proposal = self._find(key)
        if proposal.status != "ready" or proposal.before is None or proposal.after is None:
            raise GeneralistError(
                f"edit: expected a proposal that may be applied, got one that is {proposal.status};"
                " preview it again"
            )
        self.current = replace(proposal, status="evaluating")
        with self._rejecting(proposal, "edit: failed while it was applied"):
            await asyncio.to_thread(self._commit, proposal.before, proposal.after)
        problem = "" if self._service.reloader.problem is None else _NOT_LOADED
        self.current = replace(proposal, status="applied", problem=problem)

    def _check_idle(self) -> None:
        if self.current is not None and self.current.status == "evaluating":
            raise GeneralistError("edit: expected no other under way, got one; wait until it ends")

    def _find(self, key: str) -> Proposal:
        """The proposal, if it is the one that the caller saw and none is under way."""
        self._check_idle()
        if self.current is None or self.current.key != key:
            raise GeneralistError(
                "edit: expected the proposal on the page, got another in its place; reload the page"
            )
        return self.current

    async def _evaluate(self, proposal: Proposal, edit: Edit) -> None:
        failure = "edit: failed while it was evaluated"
        with suppress(MedLegoError), self._rejecting(proposal, failure):
            self.current = await asyncio.to_thread(self._try, proposal, edit)

    @contextmanager
    def _rejecting(self, proposal: Proposal, failure: str) -> Iterator[None]:
        """Reject a proposal with an error's message, or with `failure` for one unforeseen."""
        try:
            yield
        except BaseException as error:
            problem = str(error) if isinstance(error, MedLegoError) else failure
            self.current = replace(proposal, status="rejected", problem=problem)
            raise

    def _try(self, proposal: Proposal, edit: Edit) -> Proposal:
        model, gate = self._service.model, self._gate
        before = model.generalist
        after = edit(before)
        tried = replace(proposal, before=before, after=after, status="ready")
        if gate is None:
            return tried
        datasets = gate.read(after.tasks, self._show)
        required = {task.name for task in after.tasks} & set(gate.limits.require)
        if not datasets and not required:
            return tried
        report = check(after, before, datasets, gate.limits, base=model.base, show=self._show)
        if not report.passed:
            return replace(tried, report=report, status="rejected")
        lineage = with_gate(after.lineage, report.as_dict(), proposal.stamp)
        return replace(tried, report=report, after=replace(after, lineage=lineage))

    def _show(self, what: str, done: int, total: int) -> None:
        if not self._service.open:  # closing does not wait for what nobody will see
            raise GeneralistError("edit: expected a running service, got one that is stopping")
        self.progress = (what, done, total)

    def _commit(self, before: Generalist, after: Generalist) -> None:
        directory = self._service.reloader.directory
        with editing(directory):
            after.commit(directory, after=before)
        self._service.reloader.check()
