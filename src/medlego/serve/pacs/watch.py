"""An archive watched: images that fit a rule are answered once, whatever happens in between."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from medlego.base import Base
from medlego.errors import MedLegoError, PacsAwayError, PacsError
from medlego.generalist import Generalist, read_mark
from medlego.serve.pacs.answering import BATCH, InstanceOutcome, answer_instances, own_series
from medlego.serve.pacs.client import Instance, PacsClient, Study
from medlego.serve.pacs.journal import MAX_ATTEMPTS, Journal
from medlego.serve.pacs.rule import Rule
from medlego.serve.reload import Model
from medlego.support import NoPickle, ShortRepr

LONGEST_WAIT_S = 300.0

FETCHED = "fetched"
"""Folder beside the journal for files under way; emptied when a watch starts."""


@dataclass(frozen=True, repr=False)
class PollResult(ShortRepr):
    """One poll of the archive: images by outcome, see `medlego.serve.pacs.journal.Outcome`.

    `problems` counts the reasons of those refused or postponed.
    """

    answered: int = 0
    refused: int = 0
    passed: int = 0
    postponed: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)

    @property
    def futile(self) -> bool:
        """Whether there were images, and all of them were postponed."""
        return self.postponed > 0 == self.answered + self.refused + self.passed


class Watcher(NoPickle, instead="start one on the same directory there"):
    """A generalist's directory, an archive, a rule and a journal; edits are followed."""

    def __init__(
        self,
        directory: Path,
        pacs: PacsClient,
        rule: Rule,
        journal: Journal,
        *,
        base: Base | None = None,
        method: str | None = "gradient",
        device: str = "cpu",
    ) -> None:
        """Read the generalist.

        Args:
            directory: of the generalist.
            pacs: the archive.
            rule: which images are answered.
            journal: what was done; files under way are kept beside it.
            base: the generalist's base; found by fingerprint when left out.
            method: of the saliency, see `medlego.serve.pacs.results.analysis.analyse`.
            device: `cpu` or `cuda`.

        Raises:
            GeneralistError: no generalist there.
            BaseError: the base is not to be found.
        """
        self._directory, self._pacs, self._rule = directory, pacs, rule
        self._journal, self._method = journal, method
        self._folder = journal.folder / FETCHED
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        self._mark = read_mark(directory)
        generalist = Generalist.load(directory)
        self._model = Model.of(generalist, generalist.find_base(base), device)
        self._complete: dict[str, int] = {}
        """Studies of which nothing is left to do, by their number of instances then."""

    def poll(self) -> PollResult:
        """Answer what is new, once.

        Raises:
            PacsError: the archive does not answer; what was answered so far stays.
        """
        self._reload()
        outcomes: Counter[str] = Counter()
        problems: Counter[str] = Counter()
        for study in self._studies():
            before = outcomes["postponed"]
            for answer in self._answer(self._pending(study)):
                outcomes[answer.outcome] += 1
                note = self._rule.digest if answer.outcome == "passed" else answer.problem
                uid, recipe = answer.instance.sop_uid, self._model.digest
                self._journal.settle(uid, answer.outcome, recipe, note)
                if answer.outcome in ("refused", "postponed"):
                    problems[answer.problem] += 1
            if study.instances is not None and outcomes["postponed"] == before:
                self._complete[study.uid] = study.instances
        return PollResult(**outcomes, problems=dict(problems))

    def _studies(self) -> list[Study]:
        """Studies that may hold something new: all but those complete at the same size before."""
        since = self._rule.since(datetime.now().astimezone().date())
        listed = {
            study.uid: study
            for modality in self._rule.modality
            for study in self._pacs.studies(modality, since)
        }
        return [
            study
            for study in listed.values()
            if study.instances is None or self._complete.get(study.uid) != study.instances
        ]

    def _pending(self, study: Study) -> list[Instance]:
        if self._rule.rules_out(study.attributes):
            return []
        own = own_series(self._model.generalist, study.uid)
        return [
            instance
            for series in self._pacs.series(study)
            if series.uid not in own and not self._rule.rules_out(series.attributes)
            for instance in self._pacs.instances(series)
            if not self._journal.settled(instance.sop_uid, self._rule.digest)
        ]

    def _answer(self, pending: list[Instance]) -> Iterator[InstanceOutcome]:
        for batch in self._batches(pending):
            now = datetime.now().astimezone().replace(microsecond=0)
            begun: dict[Instance, datetime] = {}
            for instance in batch:
                when = self._journal.begin(instance.sop_uid, self._model.digest, now)
                if when is None:
                    problem = f"given up after {MAX_ATTEMPTS} attempts"
                    yield InstanceOutcome(instance, "refused", problem)
                else:
                    begun[instance] = when
            answers = answer_instances(
                self._pacs,
                self._model,
                list(begun.items()),
                self._folder,
                rule=self._rule,
                method=self._method,
            )
            try:
                for answer in answers:
                    del begun[answer.instance]
                    yield answer
            except (MedLegoError, OSError, KeyboardInterrupt):
                for instance in begun:
                    self._journal.settle(instance.sop_uid, "postponed", self._model.digest)
                raise

    def _batches(self, pending: list[Instance]) -> Iterator[list[Instance]]:
        """New images in batches; an image during whose work the process ended, on its own."""
        suspect = {one for one in pending if self._journal.attempts(one.sop_uid)}
        fresh = [one for one in pending if one not in suspect]
        yield from (fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH))
        yield from ([one] for one in pending if one in suspect)

    def _reload(self) -> None:
        """Read the generalist again where it was edited."""
        mark = read_mark(self._directory)
        if mark != self._mark:
            edited = Generalist.load(self._directory)
            self._model = Model.of(edited, self._model.base, self._model.device)
            self._mark = mark


def keep_watching(
    poll: Callable[[], PollResult],
    interval_s: float,
    *,
    on_result: Callable[[PollResult], None],
    on_error: Callable[[PacsError, float], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Poll again and again; while the archive is away, wait twice as long each time, to a limit.

    The wait grows, too, over polls in which every image was postponed: an archive that gives images
    and takes no results would have them all answered anew each time. After a first poll that went
    well, address and credentials are right, so any other error of the archive is waited out too.

    Args:
        poll: what to do.
        interval_s: seconds between polls.
        on_result: called after each poll.
        on_error: called with the archive's error and the seconds until the next poll.
        pause: waits.

    Raises:
        MedLegoError: whatever `poll` raises, except while the archive is away.
    """
    failures, worked = 0, False
    while True:
        try:
            result = poll()
            on_result(result)
            worked = True
            failed = result.futile
            wait = _wait(interval_s, failures) if failed else interval_s
        except PacsError as error:
            if not worked and not isinstance(error, PacsAwayError):
                raise
            failed, wait = True, _wait(interval_s, failures)
            on_error(error, wait)
        failures = failures + 1 if failed else 0
        pause(wait)


def _wait(interval_s: float, failures: int) -> float:
    """Seconds to wait after so many failures in a row and one more."""
    return min(max(interval_s, 1.0) * (1 << min(failures, 20)), max(LONGEST_WAIT_S, interval_s))
