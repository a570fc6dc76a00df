"""Images of an archive fetched, answered, and the results stored beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from medlego.base import Base
from medlego.errors import ImageError, PacsObjectError, SettingsError
from medlego.generalist import Generalist
from medlego.prediction import Prediction, Running
from medlego.serve.pacs.client import Instance, PacsClient, Study
from medlego.serve.pacs.results import analyse, derived_uid, read_source
from medlego.serve.pacs.rule import Rule
from medlego.support import Progress, silent

BATCH = 8
"""Images that are held in memory and answered together."""


@dataclass(frozen=True)
class InstanceOutcome:
    """What came of one instance.

    `results` are the SOP instance UIDs of what was made. `problem` is empty where the archive has
    them. `unfit` says that the rule does not fit, `gone` that the archive has the instance no more,
    `later` that the archive failed on it and it is worth another try.
    """

    instance: Instance
    prediction: Prediction | None = None
    results: tuple[str, ...] = ()
    problem: str = ""
    unfit: bool = False
    gone: bool = False
    later: bool = False

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "study": self.instance.study_uid,
            "series": self.instance.series_uid,
            "instance": self.instance.sop_uid,
            "prediction": None if self.prediction is None else self.prediction.as_dict(),
            "results": list(self.results),
            "problem": self.problem or None,
        }


def answer_instances(
    pacs: PacsClient,
    generalist: Generalist,
    instances: Sequence[Instance],
    when: Sequence[datetime],
    folder: Path,
    *,
    base: Base | None = None,
    rule: Rule | None = None,
    method: str | None = "gradient",
    device: str = "cpu",
    running: Running | None = None,
) -> Iterator[InstanceOutcome]:
    """Fetch, answer and store; one at a time is yielded when the archive has its results.

    Args:
        pacs: the archive.
        generalist: what answers.
        instances: a few, all of which are held in memory.
        when: date and time of each one's results.
        folder: a private place for files that are fetched; they are gone afterwards.
        base: the generalist's base; found by fingerprint when left out.
        rule: what a fetched image must fit.
        method: of the saliency, see `medlego.serve.pacs.results.analysis.analyse`.
        device: `cpu` or `cuda`.
        running: the generalist made ready, see `medlego.serve.pacs.results.analysis.analyse`.

    Raises:
        PacsError: the archive does not answer, or not so.
        GeneralistError: another base, or an unknown method.
        BaseError: the base is not to be found.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        paths, fit = {}, []
        for number, (instance, at) in enumerate(zip(instances, when, strict=True)):
            path = Path(place, str(number))
            if (settled := _fetched(pacs, instance, path, rule)) is None:
                paths[instance] = path
                fit.append((instance, at))
            else:
                yield settled
        found = analyse(
            generalist,
            [paths[instance] for instance, _ in fit],
            [at for _, at in fit],
            base=base,
            method=method,
            device=device,
            running=running,
        )
        for (instance, _), analysis in zip(fit, found, strict=True):
            uids, later = tuple(str(result.SOPInstanceUID) for result in analysis.results), False
            try:
                problem = analysis.problem or "; ".join(pacs.store(analysis.results))
            except PacsObjectError as error:
                problem, later = str(error), True
            yield InstanceOutcome(instance, analysis.prediction, uids, problem, later=later)


def answer_study(
    pacs: PacsClient,
    generalist: Generalist,
    study: str,
    when: datetime,
    *,
    series: str | None = None,
    base: Base | None = None,
    method: str | None = "gradient",
    device: str = "cpu",
    show: Progress = silent,
) -> list[InstanceOutcome]:
    """Answer every image of a study, whether or not it was answered before.

    Args:
        study: its study instance UID.
        series: this one of its series only.
        when: date and time of the results.
        show: called with what is under way.

    The others are as in `answer_instances`.

    Returns:
        What came of every instance, in the archive's order.

    Raises:
        PacsError: the archive does not answer, or has no images of this study.
        SettingsError: no such series.
    """
    own = own_series(generalist, study)
    held = [each for each in pacs.series(Study(study, None, {})) if each.uid not in own]
    if series is not None:
        held = [each for each in held if each.uid == series]
    instances = [instance for each in held for instance in pacs.instances(each)]
    if not instances:
        raise SettingsError(
            "study: expected one with images in the archive, got none of this UID; check the UID"
        )
    running = Running(generalist, base or Base.find(generalist.base), device=device)
    found: list[InstanceOutcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(instances), BATCH):
            show("images", start, len(instances))
            some = instances[start : start + BATCH]
            found += answer_instances(
                pacs,
                generalist,
                some,
                [when] * len(some),
                Path(folder),
                method=method,
                device=device,
                running=running,
            )
    return found


def own_series(generalist: Generalist, study: str) -> frozenset[str]:
    """The series of a study that hold this generalist's own results."""
    recipe = generalist.recipe.digest
    return frozenset(derived_uid(kind, recipe, study) for kind in SERIES_KINDS)


SERIES_KINDS = ("report series", "capture series")


def _fetched(
    pacs: PacsClient, instance: Instance, path: Path, rule: Rule | None
) -> InstanceOutcome | None:
    """Fetch one to a file; what came of it where it is not to be answered."""
    try:
        if not pacs.fetch(instance, path):
            return InstanceOutcome(instance, problem="the archive has it no more", gone=True)
        if rule is not None and not rule.fits(read_source(path).stated):
            return InstanceOutcome(instance, problem="the rule does not fit", unfit=True)
    except PacsObjectError as error:
        return InstanceOutcome(instance, problem=str(error), later=True)
    except ImageError as error:
        return InstanceOutcome(instance, problem=str(error).removeprefix(f"{path}: "))
    return None
