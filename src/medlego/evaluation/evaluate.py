"""What a merge keeps: the generalist beside its specialists and the controls, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from medlego.base import Base, Inputs
from medlego.data import SPLITS, Dataset, Samples, Task, align, join
from medlego.errors import DatasetError
from medlego.evaluation.probes import fit_probe
from medlego.evaluation.result import MODELS, Answers, Report, Row, TaskDetail
from medlego.evaluation.task_detail import Draws, detail
from medlego.generalist import Generalist, bare_base
from medlego.merge import Capability
from medlego.metrics import MAIN_SCORES, RESAMPLES, OperatingPoint, interval
from medlego.prediction import Predictor, Running, answer_task, read_probs
from medlego.support import Progress, silent


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
    models = _Models(generalist, base or Base.find(generalist.base), device)
    drawn: dict[str, dict[str, dict[str, np.ndarray]]] = {model: {} for model in MODELS}
    rows: list[Row] = []
    notes: list[str] = []
    tasks: dict[str, TaskDetail] = {}
    routing: dict[str, Mapping[str, int]] = {}
    for number, (name, own) in enumerate(asked.items()):
        show(f"evaluate {name}", number, len(asked))
        dataset, dropped = align(datasets[name], own.task)
        parts = [dataset.train, dataset.val, dataset.test]
        samples = join(parts) if split == "all" else dataset.split(split)
        answers, routing[name] = models.answer(own, dataset, samples, split)
        draws = Draws(resamples, seed + number)
        found = {m: draws.scores(own.task, samples, held) for m, held in answers.items()}
        for model, replicates in found.items():
            drawn[model][name] = replicates
            told = {score: interval(values) for score, values in replicates.items()}
            rows.append(Row(model, name, len(samples), told, answers[model].state))
        said = (*dataset.notes, *dropped, *_site_notes(own), *_notes(answers[MODELS[0]], split))
        tasks[name] = detail(own.task, samples, answers, found, draws, models.operating(name), said)
        notes += [f"{name}: {note}" for note in tasks[name].notes]
    show("evaluated", len(asked), len(asked))
    whole = {model: found for model, found in drawn.items() if found}
    return Report(
        split=split,
        resamples=resamples,
        seed=seed,
        rows=tuple(rows),
        means={m: {s: interval(_mean(held, s)) for s in MAIN_SCORES} for m, held in whole.items()},
        normalised={
            m: interval(normalised_balanced_accuracy(held, drawn["specialist"]))
            for m, held in whole.items()
        },
        notes=tuple(notes),
        routing={name: counts for name, counts in routing.items() if counts},
        tasks=tasks,
    )


class _Models:
    """A generalist and its controls, ready to answer."""

    def __init__(self, generalist: Generalist, base: Base, device: str) -> None:
        self._generalist, self._base, self._device = generalist, base, device
        self._readers = {reader.task.name: reader for reader in generalist.readers}
        self._working = Running(generalist, base, device=device)
        static = generalist.recipe.mode == "merged"
        self._merged = None if static else Predictor(generalist, base, device=device)
        self._frozen = Predictor(bare_base(generalist.bricks[0]), base, device=device)

    def operating(self, name: str) -> OperatingPoint | None:
        """What the thresholds of a task's answers were chosen for."""
        held = self._working.readers[name].calibration
        return None if held is None else held.operating

    def answer(
        self, own: Capability, dataset: Dataset, samples: Samples, split: str
    ) -> tuple[dict[str, Answers], Mapping[str, int]]:
        """Every model's answers to a task's images, and where the generalist sent them."""
        name, inputs = own.task.name, Inputs(samples.images, self._base)
        alone = Predictor(self._generalist.alone(name), self._base, device=self._device)
        bare = self._frozen.all_features(inputs)
        told = answer_task(self._working, name, inputs)
        worker, reader = self._working.readers[name], self._readers[name]
        answers = {
            MODELS[0]: Answers(told.told, told.reached, worker.thresholds, worker.state),
        }
        if self._merged is not None:
            answers[MODELS[1]] = _answers(reader, self._merged.all_features(inputs))
        elif self._working.router.tasks:
            answers[MODELS[1]] = Answers(told.told, None, worker.thresholds, worker.state)
        answers[MODELS[2]] = _answers(own, alone.all_features(inputs))
        answers[MODELS[3]] = _answers(own.uncalibrated(), bare)
        if split in ("val", "test"):
            answers[MODELS[4]] = Answers(_probe(own.task, dataset, self._base, self._frozen, bare))
        return answers, told.routing


def _answers(reader: Capability, pooled: Tensor) -> Answers:
    return Answers(read_probs(reader, pooled), None, reader.thresholds, reader.state)


def _notes(answers: Answers, split: str) -> tuple[str, ...]:
    """What to know of the generalist's probabilities."""
    if answers.state == "stale":
        return (
            "probabilities are not calibrated: the brick's calibration is of the brick alone, not "
            "of this merge; medlego head-round fits one",
        )
    if answers.state == "calibrated" and split in ("val", "all"):
        return (
            "the calibration was fitted on val images, so that it looks better here than it is",
        )
    return ()


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
