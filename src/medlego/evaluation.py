"""What a merge keeps: the generalist beside its specialists and the controls, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from medlego.base import Base
from medlego.errors import DatasetError
from medlego.generalist import Generalist, bare_base
from medlego.loading import Inputs
from medlego.metrics import RESAMPLES, SCORES, Interval, interval, score_replicates
from medlego.prediction import Predictor, answer_task, read_probs
from medlego.probes import fit_probe
from medlego.progress import Progress, silent
from medlego.running import Running
from medlego.samples import SPLITS, Dataset, Samples, join
from medlego.sites import Capability
from medlego.task import Kind, Task

MODELS = (
    "generalist",
    "merged, task told",
    "specialist",
    "base with specialist's head",
    "linear probe",
)


@dataclass(frozen=True)
class Row:
    """One model's scores on one task."""

    model: str
    task: str
    images: int
    scores: Mapping[str, Interval]


@dataclass(frozen=True)
class Report:
    """Rows per model and task, and their means over the tasks.

    The generalist's row is what `predict` answers when it is not told the task: an image that it
    sends elsewhere, or does not answer, counts as wrong. `normalised` is the mean over tasks of
    balanced accuracy over the specialist's; a task of several sites has their mean for one.
    """

    split: str
    resamples: int
    seed: int
    rows: tuple[Row, ...]
    means: Mapping[str, Mapping[str, Interval]]
    normalised: Mapping[str, Interval]
    notes: tuple[str, ...]
    routing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Per task that images can be sent to by their looks, where its own images went."""

    def as_dict(self) -> dict[str, object]:
        """For JSON: intervals as value, low, high."""
        return {
            "split": self.split,
            "resamples": self.resamples,
            "seed": self.seed,
            "level": 0.95,
            "rows": [
                {
                    "model": row.model,
                    "task": row.task,
                    "images": row.images,
                    **{name: value.as_dict() for name, value in row.scores.items()},
                }
                for row in self.rows
            ],
            "means": {m: {n: v.as_dict() for n, v in s.items()} for m, s in self.means.items()},
            "normalised_balanced_accuracy": {m: v.as_dict() for m, v in self.normalised.items()},
            "routing": {name: dict(counts) for name, counts in self.routing.items()},
            "notes": list(self.notes),
        }


def evaluate(
    generalist: Generalist,
    datasets: Mapping[str, Dataset],
    *,
    base: Base | None = None,
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    show: Progress = silent,
) -> Report:
    """Score the generalist and its controls on labelled images.

    Args:
        generalist: the merged model.
        datasets: per task name; labels are matched to the task's by name. Where a task has several
            sites, its specialist is their mean without the other tasks, and a note says so.
        base: the generalist's base; found by fingerprint when left out.
        split: `train`, `val`, `test`, or `all` (then no linear probe is fitted).
        resamples: bootstrap replicates; patients are drawn whole where ids exist.
        seed: of the bootstrap.
        device: `cpu` or `cuda`.
        show: called with what is under way.

    Raises:
        DatasetError: labels that the task does not know, or no data at all.
        GeneralistError: a task that the generalist lacks.
        BaseError: the base is not to be found.
    """
    if not datasets:
        raise DatasetError("evaluate: expected at least one data set, got none; pass TASK=DATA")
    if split not in (*SPLITS, "all"):
        raise DatasetError(f"split: expected {', '.join(SPLITS)} or all, got {split!r}")
    asked = {name: generalist.capability(name) for name in datasets}
    readers = {reader.task.name: reader for reader in generalist.readers}
    base = base or Base.find(generalist.base)
    working = Running(generalist, base, device=device)
    static = generalist.recipe.mode == "merged"
    merged = None if static else Predictor(generalist, base, device=device)
    frozen = Predictor(bare_base(generalist.bricks[0]), base, device=device)
    drawn: dict[str, dict[str, dict[str, np.ndarray]]] = {model: {} for model in MODELS}
    rows, notes = [], []
    routing: dict[str, Mapping[str, int]] = {}
    for number, (name, own) in enumerate(asked.items()):
        show(f"evaluate {name}", number, len(asked))
        dataset, dropped = align(datasets[name], own.task)
        notes += [f"{name}: {note}" for note in (*dataset.notes, *dropped, *_site_notes(own))]
        samples = (
            join([dataset.train, dataset.val, dataset.test])
            if split == "all"
            else dataset.split(split)
        )
        inputs = Inputs(samples.images, base)
        alone = Predictor(generalist.alone(name), base, device=device)
        bare = frozen.all_features(inputs)
        answers = answer_task(working, name, inputs)
        routing[name] = answers.routing
        probs = {MODELS[0]: answers.found(own.task, samples.labels)}
        if merged is not None:
            probs[MODELS[1]] = read_probs(readers[name], merged.all_features(inputs))
        elif working.router.tasks:
            probs[MODELS[1]] = answers.told
        probs |= {
            MODELS[2]: read_probs(own, alone.all_features(inputs)),
            MODELS[3]: read_probs(own, bare),
        }
        if split in ("val", "test"):
            probs[MODELS[4]] = _probe(own.task, dataset, base, frozen, bare)
        for model, values in probs.items():
            drawn[model][name] = score_replicates(
                own.task,
                values,
                samples.labels,
                patients=samples.patients,
                resamples=resamples,
                seed=seed + number,
            )
            found = {score: interval(drawn[model][name][score]) for score in SCORES}
            rows.append(Row(model, name, len(samples), found))
    show("evaluated", len(asked), len(asked))
    whole = {model: tasks for model, tasks in drawn.items() if tasks}
    return Report(
        split=split,
        resamples=resamples,
        seed=seed,
        rows=tuple(rows),
        means={m: {s: interval(_mean(tasks, s)) for s in SCORES} for m, tasks in whole.items()},
        normalised={
            m: interval(normalised_balanced_accuracy(tasks, drawn["specialist"]))
            for m, tasks in whole.items()
        },
        notes=tuple(notes),
        routing={name: counts for name, counts in routing.items() if counts},
    )


Replicates = Mapping[str, Mapping[str, np.ndarray]]
"""Per task and score, (1 + resamples,): the point value, then bootstrap replicates."""


def normalised_balanced_accuracy(model: Replicates, specialist: Replicates) -> np.ndarray:
    """Mean over tasks of model / specialist, replicate by replicate on the same draws.

    NaN where a specialist scores zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.stack(
            [model[t]["balanced_accuracy"] / specialist[t]["balanced_accuracy"] for t in model]
        )
    mean: np.ndarray = np.where(np.isfinite(ratios), ratios, np.nan).mean(axis=0)
    return mean


def align(dataset: Dataset, task: Task) -> tuple[Dataset, tuple[str, ...]]:
    """The same images with labels numbered as a task's, matched by name, never by index.

    A set that knows only some of the task's labels is fine. An npz without names (`class 0`,
    `class 1`, …) is taken by index where the counts agree, and a note says so.

    Raises:
        DatasetError: a label that the task lacks, or another kind of task.
    """
    names = dataset.task.labels
    if (dataset.task.kind is Kind.MULTILABEL) != (task.kind is Kind.MULTILABEL):
        raise DatasetError(
            f"data for {task.name!r}: expected {task.kind} labels, got {dataset.task.kind}"
        )
    notes: tuple[str, ...] = ()
    if len(names) == len(task.labels) and names == tuple(f"class {i}" for i in range(len(names))):
        if names != task.labels:
            notes = ("the data names no classes; its numbers were taken in the task's order",)
        names = task.labels
    if unknown := [name for name in names if name not in task.labels]:
        raise DatasetError(
            f"data for {task.name!r}: expected labels out of {', '.join(task.labels)}, got also "
            f"{', '.join(unknown)}; rename them in the data, or with --labels-map"
        )
    to = np.array([task.labels.index(name) for name in names])
    parts = {name: _relabel(dataset.split(name), task, to) for name in SPLITS}
    return Dataset.of(task, parts, dataset.notes), notes


def _relabel(samples: Samples, task: Task, to: np.ndarray) -> Samples:
    if task.kind is not Kind.MULTILABEL:
        return replace(samples, labels=to[samples.labels])
    labels = np.full((len(samples), len(task.labels)), np.nan, dtype=np.float32)
    labels[:, to] = samples.labels
    return replace(samples, labels=labels)


def _site_notes(own: Capability) -> tuple[str, ...]:
    count = len(own.bricks)
    mean = f"the specialist of {own.task.name} is the mean of its {count} sites"
    return (mean, *own.notes) if count > 1 else ()


def _probe(
    task: Task, dataset: Dataset, base: Base, frozen: Predictor, scored: Tensor
) -> np.ndarray:
    """Probabilities of a probe fitted on train, its strength chosen on val."""
    train, val = (
        (frozen.all_features(Inputs(part.images, base)).numpy(), part.labels)
        for part in (dataset.train, dataset.val)
    )
    return fit_probe(task, train, val).probs(scored.numpy())


def _mean(tasks: Mapping[str, Mapping[str, np.ndarray]], score: str) -> np.ndarray:
    mean: np.ndarray = np.mean([values[score] for values in tasks.values()], axis=0)
    return mean
