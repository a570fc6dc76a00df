"""Before an edit goes live: what it changes on labelled images, held against limits.

Both generalists answer the same images, and a bootstrap replicate draws the same patients for
both, so an interval is of the change itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from medlego.base import Base, Inputs
from medlego.data import SPLITS, Dataset, Samples, Task, align, join
from medlego.errors import DatasetError, SettingsError
from medlego.generalist import Generalist
from medlego.metrics import RESAMPLES, Interval, Sample, group_rows, interval, score_replicates
from medlego.prediction import Running, answer_task
from medlego.support import FrozenModel, Progress, ShortRepr, load_toml, silent

Score = Literal["accuracy", "balanced_accuracy", "auroc"]
Verdict = Literal["pass", "fail", "unclear"]
Share = Annotated[float, Field(ge=0, le=1)]


class TaskLimits(FrozenModel):
    """What a task may lose; all numbers are shares, 0.02 for two points."""

    score: Score = "balanced_accuracy"
    max_loss: Share = 0.02
    max_subgroup_loss: Share = 0.10
    min_score: Share = 0.0
    """What the score must not be surely below, for tasks that were not there before too."""


class GateLimits(FrozenModel):
    """A gate: limits for every task, others for some, and how to judge.

    A task passes where the change's interval lies above −max_loss: shown not to be worse than the
    limit. It fails where the interval lies below it, and in between is `unclear`, which counts as
    failed unless `unclear` says otherwise. A subgroup fails only where its whole interval lies
    below −max_subgroup_loss, since small ones prove little.
    """

    default: TaskLimits = TaskLimits()
    task: dict[str, TaskLimits] = Field(default_factory=dict)
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    unclear: Literal["pass", "fail"] = "fail"
    require: tuple[str, ...] = ()
    """Tasks that must be checked, by data for them."""
    min_images: Annotated[int, Field(ge=2)] = 20
    """Smallest subgroup that is looked at."""

    def of(self, task: str) -> TaskLimits:
        """A task's own, or the default."""
        return self.task.get(task, self.default)

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
    worst: SubgroupChange | None
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
        return {
            "passed": self.passed,
            "split": self.split,
            "resamples": self.resamples,
            "seed": self.seed,
            "limits": self.limits.model_dump(mode="json"),
            "unchecked": list(self.unchecked),
            "notes": list(self.notes),
            "tasks": [
                {
                    "task": change.task,
                    "score": change.score,
                    "images": change.images,
                    "before": None if change.before is None else change.before.as_dict(),
                    "after": change.after.as_dict(),
                    "change": None if change.change is None else change.change.as_dict(),
                    "worst_subgroup": None
                    if change.worst is None
                    else {
                        "name": change.worst.name,
                        "images": change.worst.images,
                        "change": change.worst.change.as_dict(),
                    },
                    "verdict": change.verdict,
                    "reason": change.reason,
                }
                for change in self.tasks
            ],
        }


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
    if not datasets:
        raise DatasetError("check: expected at least one data set, got none; pass TASK=DATA")
    if split not in (*SPLITS, "all"):
        raise DatasetError(f"split: expected {', '.join(SPLITS)} or all, got {split!r}")
    names = [task.name for task in after.tasks]
    if lacking := [n for n in limits.require if n in names and n not in datasets]:
        raise DatasetError(f"check: expected data for {', '.join(lacking)} too, as the gate says")
    base = base or Base.find(after.base)
    models = [Running(held, base, device=device) for held in (before, after)]
    tasks, notes = [], []
    for number, (name, whole) in enumerate(datasets.items()):
        show(f"check {name}", number, len(datasets))
        dataset, dropped = align(whole, after.capability(name).task)
        notes += [f"{name}: {note}" for note in (*dataset.notes, *dropped)]
        parts = [dataset.train, dataset.val, dataset.test]
        samples = join(parts) if split == "all" else dataset.split(split)
        inputs = Inputs(samples.images, base)
        task, labels = after.capability(name).task, before_labels(before, name)
        old, new = (_read(model, task, inputs, samples.labels, show) for model in models)
        if old is not None and labels != task.labels:
            notes.append(f"{name}: its labels changed; those that are new count as never answered")
        drawn = _Drawn(task, samples, limits.of(name).score, resamples, seed + number)
        assert new is not None
        tasks.append(_judged(drawn, old, new, limits))
    show("checked", len(datasets), len(datasets))
    return GateReport(
        passed=all(_passes(change, limits) for change in tasks),
        tasks=tuple(tasks),
        unchecked=tuple(name for name in names if name not in datasets),
        split=split,
        resamples=resamples,
        seed=seed,
        limits=limits,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """A model's answers (N, labels), and the thresholds that decide them, if any."""

    probs: np.ndarray
    thresholds: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One task's images and how replicates of a score are drawn from them."""

    task: Task
    samples: Samples
    score: str
    resamples: int
    seed: int

    def replicates(self, read: _Read, rows: np.ndarray | None = None) -> np.ndarray:
        """(1 + resamples,) of the score, on all images or on some."""
        samples = self.samples
        sample = Sample(self.task, read.probs, samples.labels, samples.patients, read.thresholds)
        part = sample if rows is None else sample.take(rows)
        names = [self.score]
        return score_replicates(part, names, resamples=self.resamples, seed=self.seed)[self.score]

    def subgroups(self, least: int) -> Iterator[tuple[str, np.ndarray]]:
        """Parts of the images, by stated groups and by label, that are large enough."""
        stated = group_rows(self.samples.groups)
        parts = {f"{name} {value}": rows for name, value, rows in stated}
        if self.task.rules.exclusive and self.score != "auroc":
            parts |= {
                f"label {label}": np.flatnonzero(self.samples.labels == number)
                for number, label in enumerate(self.task.labels)
            }
        yield from ((name, rows) for name, rows in parts.items() if len(rows) >= least)


def _judged(drawn: _Drawn, old: _Read | None, new: _Read, limits: GateLimits) -> TaskChange:
    own, level = limits.of(drawn.task.name), limits.level
    after = drawn.replicates(new)
    found = interval(after, level)
    before = change = worst = None
    verdict: Verdict = "pass"
    reasons = ["it was not there before"] if old is None else []
    if old is not None:
        previous = drawn.replicates(old)
        before, change = interval(previous, level), interval(after - previous, level)
        verdict, reason = _verdict(change, own.max_loss, level)
        reasons.append(reason)
        worst = _worst(drawn, old, new, limits)
        if worst is not None and worst.change.high < -own.max_subgroup_loss:
            verdict = "fail"
            reasons.append(f"{worst.name} lost more than {own.max_subgroup_loss:g}")
    if found.high < own.min_score:
        verdict = "fail"
        reasons.append(f"{own.score} lies below {own.min_score:g}")
    return TaskChange(
        task=drawn.task.name,
        score=drawn.score,
        images=len(drawn.samples),
        before=before,
        after=found,
        change=change,
        worst=worst,
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


def _worst(drawn: _Drawn, old: _Read, new: _Read, limits: GateLimits) -> SubgroupChange | None:
    """The subgroup that lost most."""
    found = [
        SubgroupChange(
            name,
            len(rows),
            interval(drawn.replicates(new, rows) - drawn.replicates(old, rows), limits.level),
        )
        for name, rows in drawn.subgroups(limits.min_images)
    ]
    known = [subgroup for subgroup in found if np.isfinite(subgroup.change.value)]
    return min(known, key=lambda subgroup: subgroup.change.value, default=None)


def _passes(change: TaskChange, limits: GateLimits) -> bool:
    return change.verdict == "pass" or (change.verdict == "unclear" and limits.unclear == "pass")


def before_labels(before: Generalist, name: str) -> tuple[str, ...]:
    """A task's labels; none where the task was not there."""
    return next((task.labels for task in before.tasks if task.name == name), ())


def _read(
    model: Running, task: Task, inputs: Inputs, truth: np.ndarray, show: Progress
) -> _Read | None:
    """What `predict` answers, with a column for each of the task's labels; None without the task.

    `truth` are the images' labels, since what is sent elsewhere counts as wrong.
    """
    if task.name not in model.readers:
        return None
    answers = answer_task(model, task.name, inputs, show)
    labels = model.readers[task.name].task.labels
    if labels != task.labels:
        limits = answers.thresholds
        if limits is not None and not task.rules.exclusive:
            limits = _columns(limits[None], labels, task.labels)[0]
        told = _columns(answers.told, labels, task.labels)
        answers = replace(answers, told=told, thresholds=limits)
    return _Read(answers.found(task, truth), answers.thresholds)


def _columns(probs: np.ndarray, labels: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Probabilities in another order of labels; zero for those that are new."""
    found = np.zeros((len(probs), len(wanted)))
    for number, label in enumerate(wanted):
        if label in labels:
            found[:, number] = probs[:, labels.index(label)]
    return found
