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
from medlego.prediction import Prediction
from medlego.serve.pacs.client import Instance, PacsClient, Study
from medlego.serve.pacs.journal import Outcome
from medlego.serve.pacs.results.analysis import analyse
from medlego.serve.pacs.results.source import read_source
from medlego.serve.pacs.results.uids import derived_uid
from medlego.serve.pacs.rule import Rule
from medlego.serve.reload import Model
from medlego.support import Progress, ShortRepr, silent

BATCH = 8
"""Images that are held in memory and answered together."""


@dataclass(frozen=True, repr=False)
class InstanceOutcome(ShortRepr):
    """The outcome of one instance.

    `results` are the SOP instance UIDs of what was made; the archive has them where the outcome is
    `answered`. Otherwise `problem` is a sentence that says why not.
    """

    instance: Instance
    outcome: Outcome
    problem: str = ""
    prediction: Prediction | None = None
    results: tuple[str, ...] = ()

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
    model: Model,
    instances: Sequence[tuple[Instance, datetime]],
    folder: Path,
    *,
    rule: Rule | None = None,
    method: str | None = "gradient",
) -> Iterator[InstanceOutcome]:
    """Fetch, answer and store; yields each instance once the archive has its results.

    Args:
        pacs: the archive.
        model: what answers.
        instances: a few, all held in memory, each with date and time of its results.
        folder: a private place for fetched files, which are deleted afterwards.
        rule: what a fetched image must fit.
        method: of the saliency, see `medlego.serve.pacs.results.analysis.analyse`.

    Raises:
        PacsError: the archive does not answer.
        GeneralistError: an unknown method.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        fetched: list[tuple[Instance, Path, datetime]] = []
        for number, (instance, when) in enumerate(instances):
            path = Path(place, str(number))
            if (refusal := _fetch(pacs, instance, path, rule)) is None:
                fetched.append((instance, path, when))
            else:
                yield refusal
        analyses = analyse(model, [(path, when) for _, path, when in fetched], method)
        for (instance, *_), analysis in zip(fetched, analyses, strict=True):
            try:
                problem = analysis.problem or "; ".join(pacs.store(analysis.results))
                outcome: Outcome = "refused" if problem else "answered"
            except PacsObjectError as error:
                problem, outcome = str(error), "postponed"
            uids = tuple(str(result.SOPInstanceUID) for result in analysis.results)
            yield InstanceOutcome(instance, outcome, problem, analysis.prediction, uids)


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
        pacs: the archive.
        generalist: what answers.
        study: its study instance UID.
        when: date and time of the results.
        series: only this one of its series.
        base: the generalist's base; found by fingerprint when left out.
        method: of the saliency, see `medlego.serve.pacs.results.analysis.analyse`.
        device: `cpu` or `cuda`.
        show: called with what is under way.

    Returns:
        The outcome of every instance, in the archive's order.

    Raises:
        PacsError: the archive does not answer.
        SettingsError: no images of this study or series.
        GeneralistError: another base, or an unknown method.
        BaseError: the base is not to be found.
    """
    own = own_series(generalist, study)
    instances = [
        (instance, when)
        for listed in pacs.series(Study(study))
        if listed.uid not in own and series in (None, listed.uid)
        for instance in pacs.instances(listed)
    ]
    if not instances:
        raise SettingsError(
            "study: expected one with images in the archive, got none of this UID; check the UID"
        )
    model = Model.of(generalist, generalist.find_base(base), device)
    answers: list[InstanceOutcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(instances), BATCH):
            show("images", start, len(instances))
            batch = instances[start : start + BATCH]
            answers += answer_instances(pacs, model, batch, Path(folder), method=method)
    return answers


def own_series(generalist: Generalist, study: str) -> frozenset[str]:
    """The series of a study that hold this generalist's own results."""
    recipe = generalist.recipe.digest
    return frozenset(derived_uid(f"{kind} series", recipe, study) for kind in ("report", "capture"))


def _fetch(
    pacs: PacsClient, instance: Instance, path: Path, rule: Rule | None
) -> InstanceOutcome | None:
    """Fetch one to a file; its outcome where it is not to be answered."""
    try:
        if not pacs.fetch(instance, path):
            return InstanceOutcome(instance, "refused", "the archive no longer has it")
        if rule is not None and not rule.fits(read_source(path).attributes):
            return InstanceOutcome(instance, "passed", "the rule does not fit")
    except PacsObjectError as error:
        return InstanceOutcome(instance, "postponed", str(error))
    except ImageError as error:
        return InstanceOutcome(instance, "refused", str(error).removeprefix(f"{path}: "))
    return None
