"""Before an edit goes live: what it changes on labelled images, held against limits.

Both generalists answer the same images, and a bootstrap replicate draws the same patients for
both, so an interval is of the change itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from medlego.base import Base, Inputs
from medlego.data import Dataset, Samples, Task, align
from medlego.errors import DatasetError, SettingsError
from medlego.evaluation.splits import check_data, samples_of
from medlego.evaluation.task_detail import Draws
from medlego.generalist import Generalist
from medlego.metrics import RESAMPLES, Interval, Replicates, Sample, group_rows, interval
from medlego.prediction import Engine, answer_task
from medlego.support import FrozenModel, Progress, ShortRepr, load_toml, plain_fields, silent

Score = Literal["accuracy", "balanced_accuracy", "auroc"]
Verdict = Literal["pass", "fail", "unclear", "undecided"]
Share = Annotated[float, Field(ge=0, le=1)]


class TaskLimits(FrozenModel):
    """What a task may lose; all numbers are shares, 0.02 for two points."""

    score: Score = "balanced_accuracy"
    """What is compared before and after an edit."""
    max_loss: Share = 0.02
    """How much a task may lose."""
    max_subgroup_loss: Share = 0.10
    """How much a subgroup may lose."""
    min_score: Share = 0.0
    """What the score must not be surely below, for tasks that were not there before too."""
    min_task_images: Annotated[int, Field(ge=1)] = 20
    """With fewer the task is `undecided`, as it is where its score is undefined."""


class GateLimits(FrozenModel):
    """A gate: limits for every task, others for some, and how to judge.

    A task passes where the change's interval lies above −max_loss: shown not to be worse than the
    limit. It fails where the interval lies below it, and in between is `unclear`, which counts as
    failed unless `unclear` says otherwise. A task with too few images is `undecided`, which never
    passes. A subgroup fails only where its whole interval lies
    below −max_subgroup_loss, since small ones prove little.
    """

    default: TaskLimits = TaskLimits()
    """Limits of every task that has none of its own."""
    task: dict[str, TaskLimits] = Field(default_factory=dict)
    """Limits of single tasks, by name."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals."""
    unclear: Literal["pass", "fail"] = "fail"
    """What counts where the interval holds the limit."""
    require: tuple[str, ...] = ()
    """Tasks that must be checked, by data for them."""
    min_images: Annotated[int, Field(ge=2)] = 20
    """Smallest subgroup that is looked at."""

    def of(self, task: str) -> TaskLimits:
        """A task's own, or the default."""
        return self.task.get(task, self.default)

    def accepts(self, verdict: Verdict) -> bool:
        """Whether a task with this verdict may go live."""
        return verdict == "pass" or (verdict == "unclear" and self.unclear == "pass")

    @classmethod
    def load(cls, path: str | Path) -> GateLimits:
        """Read a TOML file; a task's table says everything that differs from the built-in limits.

        Raises:
            SettingsError: no such file, not TOML, or fields that are wrong, all together.
        """
        return load_toml(cls, path, SettingsError, "limits")


@dataclass(frozen=True)
class SubgroupChange:
    """The change within a part of the images."""

    name: str
    images: int
    change: Interval


@dataclass(frozen=True)
class TaskChange:
    """One task before and after; `before` and `change` are None where it was not there before."""

    task: str
    score: str
    images: int
    before: Interval | None
    after: Interval
    change: Interval | None
    worst_subgroup: SubgroupChange | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True, repr=False)
class GateReport(ShortRepr):
    """Every task's change, and whether the edit may go live."""

    passed: bool
    tasks: tuple[TaskChange, ...]
    unchecked: tuple[str, ...]
    split: str
    resamples: int
    seed: int
    limits: GateLimits
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the lineage: numbers about groups of images, none about one patient."""
        return plain_fields(self)


def check(
    after: Generalist,
    before: Generalist,
    datasets: Mapping[str, Dataset],
    limits: GateLimits | None = None,
    *,
    base: Base | None = None,
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    show: Progress = silent,
) -> GateReport:
    """Compare two generalists on the same labelled images and judge by limits.

    Args:
        after: what is to go live.
        before: what it takes the place of.
        datasets: per task name of `after`; labels are matched by name.
        limits: `GateLimits()` by default.
        base: the generalists' base; found by fingerprint when left out.
        split: `train`, `val`, `test` or `all`.
        resamples: bootstrap replicates; patients are drawn whole where ids exist.
        seed: of the bootstrap.
        device: `cpu` or `cuda`.
        show: called with what is under way.

    Raises:
        DatasetError: no data, labels that a task does not know, or none for a required task.
        GeneralistError: data for a task that `after` lacks.
        BaseError: the base is not to be found.
    """
    limits = limits or GateLimits()
    check_data("check", datasets, split)
    names = [task.name for task in after.tasks]
    if lacking := [n for n in limits.require if n in names and n not in datasets]:
        raise DatasetError(f"check: expected data for {', '.join(lacking)} too, as the gate says")
    base = after.find_base(base)
    old, new = (Engine(generalist, base, device=device) for generalist in (before, after))
    tasks, notes = [], []
    for number, (name, data) in enumerate(datasets.items()):
        show(f"check {name}", number, len(datasets))
        task = after.capability(name).task
        dataset, align_notes = align(data, task)
        notes += [f"{name}: {note}" for note in (*dataset.notes, *align_notes)]
        samples, inputs = Inputs.of(samples_of(dataset, split), base)
        previous = None
        if name in old.readers:
            previous = _answers(old, task, samples, inputs, show)
            if old.reader(name).task.labels != task.labels:
                notes.append(
                    f"{name}: its labels changed; those that are new count as never answered"
                )
        answers = _answers(new, task, samples, inputs, show)
        notes += [f"{name}: {note}" for note in inputs.notes()]
        draws = Draws(resamples, seed + number)
        tasks.append(_judged(draws, previous, answers, samples.groups, limits))
    show("checked", len(datasets), len(datasets))
    return GateReport(
        passed=all(limits.accepts(change.verdict) for change in tasks),
        tasks=tuple(tasks),
        unchecked=tuple(name for name in names if name not in datasets),
        split=split,
        resamples=resamples,
        seed=seed,
        limits=limits,
        notes=tuple(notes),
    )


def _judged(
    draws: Draws,
    old: Sample | None,
    new: Sample,
    groups: Mapping[str, np.ndarray],
    limits: GateLimits,
) -> TaskChange:
    own, level = limits.of(new.task.name), limits.level

    def scores(sample: Sample) -> Replicates:
        return draws.replicates(sample, [own.score])[own.score]

    replicates = scores(new)
    after = interval(replicates, level)
    before = change = worst = None
    verdict: Verdict = "pass"
    reasons = ["it was not there before"] if old is None else []
    if old is not None:
        previous = scores(old)
        before, change = interval(previous, level), interval(replicates - previous, level)
        verdict, reason = _verdict(change, own.max_loss, level)
        reasons.append(reason)
        parts = _subgroups(new, groups, own.score, limits.min_images)
        changes = [
            SubgroupChange(
                name, len(rows), interval(scores(new.take(rows)) - scores(old.take(rows)), level)
            )
            for name, rows in parts.items()
        ]
        defined = [part for part in changes if np.isfinite(part.change.value)]
        worst = min(defined, key=lambda part: part.change.value, default=None)
        if worst is not None and worst.change.high < -own.max_subgroup_loss:
            verdict = "fail"
            reasons.append(f"{worst.name} lost more than {own.max_subgroup_loss:g}")
    if after.high < own.min_score:
        verdict = "fail"
        reasons.append(f"{own.score} lies below {own.min_score:g}")
    images = int(new.known.sum())
    if images < own.min_task_images:
        verdict, reasons = "undecided", [f"expected {own.min_task_images} images or more"]
    elif math.isnan(after.value if change is None else change.value):
        verdict, reasons = "undecided", [f"{own.score} is undefined on these images"]
    return TaskChange(
        task=new.task.name,
        score=own.score,
        images=images,
        before=before,
        after=after,
        change=change,
        worst_subgroup=worst,
        verdict=verdict,
        reason="; ".join(reasons),
    )


def _verdict(change: Interval, limit: float, level: float) -> tuple[Verdict, str]:
    sure = f"at {level:.0%}"
    if change.low >= -limit:
        return "pass", f"lost no more than {limit:g} {sure}"
    if change.high < -limit:
        return "fail", f"lost more than {limit:g} {sure}"
    return "unclear", f"too few images to tell a loss of {limit:g} {sure}"


def _subgroups(
    sample: Sample, groups: Mapping[str, np.ndarray], score: str, least: int
) -> dict[str, np.ndarray]:
    """Rows of the images of each stated group, and of each label, that are enough."""
    parts = {f"{name} {value}": rows for name, value, rows in group_rows(groups)}
    if sample.task.rules.exclusive and score != "auroc":
        parts |= {
            f"label {label}": np.flatnonzero(sample.labels == number)
            for number, label in enumerate(sample.task.labels)
        }
    return {name: rows for name, rows in parts.items() if len(rows) >= least}


def _answers(
    engine: Engine, task: Task, samples: Samples, inputs: Inputs, show: Progress
) -> Sample:
    """What `predict` answers, with a column for each of the task's labels."""
    answers = answer_task(engine, task.name, inputs, show)
    labels = engine.reader(task.name).task.labels
    if labels != task.labels:
        limits = answers.thresholds
        if limits is not None and not task.rules.exclusive:
            limits = _columns(limits[None], labels, task.labels)[0]
        probs = _columns(answers.probs, labels, task.labels)
        answers = replace(answers, probs=probs, thresholds=limits)
    return answers.scored(task, samples)


def _columns(probs: np.ndarray, labels: tuple[str, ...], order: tuple[str, ...]) -> np.ndarray:
    """Probabilities in another order of labels; zero for those that are new."""
    columns = np.zeros((len(probs), len(order)))
    for number, label in enumerate(order):
        if label in labels:
            columns[:, number] = probs[:, labels.index(label)]
    return columns
