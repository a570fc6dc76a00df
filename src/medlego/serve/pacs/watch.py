"""An archive watched: images that fit a rule are answered once, whatever happens in between."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from medlego.base import Base
from medlego.errors import MedLegoError, PacsAwayError, PacsError
from medlego.generalist import Generalist, read_mark
from medlego.prediction import Running
from medlego.serve.pacs.answering import BATCH, InstanceOutcome, answer_instances, own_series
from medlego.serve.pacs.client import Instance, PacsClient, Study
from medlego.serve.pacs.journal import MAX_ATTEMPTS, Journal
from medlego.serve.pacs.rule import Rule

LONGEST_WAIT_S = 300.0

FETCHED = "fetched"
"""Folder beside the journal for files under way; emptied when a watch starts."""


@dataclass(frozen=True)
class Look:
    """One look at the archive: images answered, refused, and left since the rule does not fit.

    `postponed` are images on which the archive failed and that are asked for again at the next
    look. `problems` counts the reasons of those refused or postponed.
    """

    answered: int = 0
    refused: int = 0
    passed: int = 0
    postponed: int = 0
    problems: tuple[tuple[str, int], ...] = ()

    @property
    def futile(self) -> bool:
        """Whether there were images, and all of them were postponed."""
        return self.postponed > 0 == self.answered + self.refused + self.passed

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "answered": self.answered,
            "refused": self.refused,
            "passed": self.passed,
            "postponed": self.postponed,
            "problems": dict(self.problems),
        }


class Watcher:
    """A generalist's directory, an archive, a rule and a journal; an edit is taken over."""

    def __init__(
        self,
        directory: Path,
        pacs: PacsClient,
        rule: Rule,
        journal: Journal,
        folder: Path,
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
            journal: of `folder`.
            folder: where the journal is, and where files lie while they are under way.
            base: the generalist's base; found by fingerprint when left out.
            method: of the saliency, see `medlego.serve.pacs.results.analysis.analyse`.
            device: `cpu` or `cuda`.

        Raises:
            GeneralistError: no generalist there.
            BaseError: the base is not to be found.
        """
        self._directory, self._pacs, self._rule = directory, pacs, rule
        self._journal, self._method, self._device = journal, method, device
        self._fetched = folder / FETCHED
        shutil.rmtree(self._fetched, ignore_errors=True)
        self._fetched.mkdir(mode=0o700)
        self._mark = read_mark(directory)
        self._generalist = Generalist.load(directory)
        self._base = base or Base.find(self._generalist.base)
        self._running = Running(self._generalist, self._base, device=device)
        self._whole: dict[str, int] = {}

    def look(self) -> Look:
        """Answer what is new, once.

        Raises:
            PacsError: the archive does not answer, or not so; what was answered so far stays.
        """
        self._take_edits()
        outcomes: Counter[str] = Counter()
        problems: Counter[str] = Counter()
        for study in self._studies():
            before = outcomes["postponed"]
            for found in self._answer(self._pending(study)):
                outcome = self._note(found)
                outcomes[outcome] += 1
                if outcome in ("refused", "postponed"):
                    problems[found.problem] += 1
            if study.instances is not None and outcomes["postponed"] == before:
                self._whole[study.uid] = study.instances
        return Look(**outcomes, problems=tuple(problems.items()))

    def _studies(self) -> list[Study]:
        """Studies that may hold something new: all but those whole at the same size before."""
        since = self._rule.since(datetime.now().astimezone().date())
        found = {
            study.uid: study
            for modality in self._rule.modality
            for study in self._pacs.studies(modality, since)
        }
        return [
            study
            for study in found.values()
            if study.instances is None or self._whole.get(study.uid) != study.instances
        ]

    def _pending(self, study: Study) -> list[Instance]:
        if self._rule.rules_out(study.stated):
            return []
        own = own_series(self._generalist, study.uid)
        return [
            instance
            for series in self._pacs.series(study)
            if series.uid not in own and not self._rule.rules_out(series.stated)
            for instance in self._pacs.instances(series)
            if not self._journal.settled(instance.sop_uid, self._rule.digest)
        ]

    def _answer(self, pending: list[Instance]) -> Iterator[InstanceOutcome]:
        for some in self._batches(pending):
            begun = self._begin(some)
            left = dict(begun)
            yield from (
                InstanceOutcome(each, problem=f"given up after {MAX_ATTEMPTS} attempts")
                for each in some
                if each not in left
            )
            try:
                for found in answer_instances(
                    self._pacs,
                    self._generalist,
                    [instance for instance, _ in begun],
                    [at for _, at in begun],
                    self._fetched,
                    rule=self._rule,
                    method=self._method,
                    device=self._device,
                    running=self._running,
                ):
                    del left[found.instance]
                    yield found
            except (MedLegoError, OSError, KeyboardInterrupt):
                for instance in left:
                    self._journal.postpone(instance.sop_uid)
                raise

    def _batches(self, pending: list[Instance]) -> Iterator[list[Instance]]:
        """Images that nothing happened to yet together; each whose work ended oddly by itself."""
        suspect = {each for each in pending if self._journal.attempts(each.sop_uid)}
        fresh = [each for each in pending if each not in suspect]
        yield from (fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH))
        yield from ([each] for each in pending if each in suspect)

    def _begin(self, instances: list[Instance]) -> list[tuple[Instance, datetime]]:
        now = datetime.now().astimezone().replace(microsecond=0)
        recipe = self._generalist.recipe.digest
        begun = [(each, self._journal.begin(each.sop_uid, recipe, now)) for each in instances]
        return [(each, at) for each, at in begun if at is not None]

    def _note(self, found: InstanceOutcome) -> str:
        """Write down what came of an instance, and say which outcome that is."""
        uid, recipe = found.instance.sop_uid, self._generalist.recipe.digest
        if found.unfit:
            self._journal.passed(uid, self._rule.digest)
            return "passed"
        if found.later:
            self._journal.postpone(uid)
            return "postponed"
        if found.problem:
            self._journal.refused(uid, recipe, found.problem)
            return "refused"
        self._journal.answered(uid, recipe)
        return "answered"

    def _take_edits(self) -> None:
        """Read the generalist again where somebody edited it."""
        mark = read_mark(self._directory)
        if mark != self._mark:
            edited = Generalist.load(self._directory)
            self._running = Running(edited, self._base, device=self._device)
            self._generalist, self._mark = edited, mark


def keep_watching(
    look: Callable[[], Look],
    interval_s: float,
    *,
    seen: Callable[[Look], None],
    away: Callable[[PacsError, float], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look again and again; where the archive is away, wait twice as long each time, to a limit.

    The wait grows, too, over looks in which nothing came of any image but a postponement: an
    archive that gives images and takes no results would have them all answered anew each time.
    After a first look that went well address and credentials are right, so that whatever else the
    archive answers later is waited out in the same way.

    Args:
        look: what to do.
        interval_s: seconds between looks.
        seen: called after each look.
        away: called with what is wrong and the seconds that are waited.
        pause: waits.

    Raises:
        MedLegoError: whatever `look` raises, but for an archive that is away.
    """
    failures, worked = 0, False
    while True:
        try:
            found = look()
            seen(found)
            worked = True
            if found.futile:
                wait, failures = _wait(interval_s, failures), failures + 1
            else:
                wait, failures = interval_s, 0
        except PacsError as error:
            if not worked and not isinstance(error, PacsAwayError):
                raise
            wait, failures = _wait(interval_s, failures), failures + 1
            away(error, wait)
        pause(wait)


def _wait(interval_s: float, failures: int) -> float:
    """Seconds to wait after so many failures in a row and one more."""
    return min(max(interval_s, 1.0) * (1 << min(failures, 20)), max(LONGEST_WAIT_S, interval_s))
