"""What a merge keeps: the generalist beside its specialists and the controls, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from medlego.base import Base, BaseLike, Inputs
from medlego.data import Dataset, DatasetLike, Samples, align, open_dataset
from medlego.errors import DatasetError
from medlego.evaluation.probes import fit_probe
from medlego.evaluation.result import (
    BARE_BASE,
    GENERALIST,
    MERGED,
    MODELS,
    PROBE,
    SPECIALIST,
    ModelScores,
    Report,
    TaskDetail,
)
from medlego.evaluation.splits import check_data, samples_of
from medlego.evaluation.task_detail import Draws, detail
from medlego.generalist import Generalist, GeneralistLike, open_generalist
from medlego.merge import Capability
from medlego.metrics import MAIN_SCORES, RESAMPLES, Replicates, interval
from medlego.prediction import Backbone, Engine, TaskAnswers, answer_task, features_of
from medlego.support import Progress, silent

NO_PROBE = "no probe: it is fitted to training and validation images, and there are none to spare"


def evaluate(
    generalist: GeneralistLike,
    datasets: Mapping[str, DatasetLike],
    *,
    base: BaseLike | None = None,
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    show: Progress = silent,
) -> Report:
    """Score the generalist and its controls on labelled images.

    Args:
        generalist: the merged model, or its directory.
        datasets: per task name, each also as what `load_dataset` reads; labels are matched to the
            task's by name. Where a task has several sites, its specialist is their mean without
            the other tasks, and a note says so.
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
    generalist = open_generalist(generalist)
    if not isinstance(datasets, Mapping):
        raise DatasetError(
            f"evaluate: expected data sets by task's name, got {type(datasets).__name__}; "
            "pass {TASK: DATA}"
        )
    check_data("evaluate", datasets, split)
    capabilities = {name: generalist.capability(name) for name in datasets}
    models = _Models(generalist, generalist.find_base(base), device)
    drawn: dict[str, dict[str, Mapping[str, Replicates]]] = {model: {} for model in MODELS}
    rows: list[ModelScores] = []
    tasks: dict[str, TaskDetail] = {}
    routing: dict[str, Mapping[str, int]] = {}
    for number, (name, capability) in enumerate(capabilities.items()):
        show(f"evaluate {name}", number, len(datasets))
        dataset, align_notes = align(open_dataset(datasets[name]), capability.task)
        samples, inputs = Inputs.of(samples_of(dataset, split), models.base)
        answers = models.answers(capability, dataset, inputs, split)
        draws = Draws(resamples, seed + number)
        replicates = {m: draws.scores(capability.task, samples, a) for m, a in answers.items()}
        for model, own in replicates.items():
            drawn[model][name] = own
            intervals = {score: interval(values) for score, values in own.items()}
            rows.append(ModelScores(model, name, len(samples), intervals, answers[model].state))
        working = answers[GENERALIST]
        tasks[name] = detail(
            capability.task,
            samples,
            answers,
            replicates,
            draws,
            (
                *dataset.notes,
                *align_notes,
                *inputs.notes(),
                *_site_notes(capability),
                *_notes(working, split),
                *(note for brick in capability.bricks if (note := brick.missing_thresholds)),
                *([NO_PROBE] if split != "train" and PROBE not in answers else []),
            ),
        )
        if working.routing:
            routing[name] = working.routing
    show("evaluated", len(datasets), len(datasets))
    measured = {model: by_task for model, by_task in drawn.items() if by_task}
    return Report(
        split=split,
        resamples=resamples,
        seed=seed,
        rows=tuple(rows),
        means={
            model: {
                score: interval(Replicates.mean([own[score] for own in by_task.values()]))
                for score in MAIN_SCORES
            }
            for model, by_task in measured.items()
        },
        normalised={
            model: interval(normalised_balanced_accuracy(by_task, drawn[SPECIALIST]))
            for model, by_task in measured.items()
        },
        notes=tuple(f"{name}: {note}" for name, task in tasks.items() for note in task.notes),
        routing=routing,
        tasks=tasks,
        generalist=generalist,
    )


class _Models:
    """A generalist and its controls, ready to answer."""

    def __init__(self, generalist: Generalist, base: Base, device: str) -> None:
        self._generalist, self.base, self._device = generalist, base, device
        self._engine = Engine(generalist, base, device=device)
        self._bare = Backbone(base, device=device)
        self._merged = None
        if generalist.recipe.mode != "merged":
            self._merged = Backbone.of(generalist, base, device)

    def answers(
        self, capability: Capability, dataset: Dataset, inputs: Inputs, split: str
    ) -> dict[str, TaskAnswers]:
        """Every model's answers to a task's images."""
        name = capability.task.name
        bare = features_of(self._bare.features, inputs)
        working = answer_task(self._engine, name, inputs)
        answers = {GENERALIST: working}
        if self._merged is not None:
            merged = features_of(self._merged.features, inputs)
            answers[MERGED] = TaskAnswers.read(self._generalist.reader(name), merged)
        elif self._engine.router.tasks:
            answers[MERGED] = replace(working, answered=None)
        alone = Backbone.of(self._generalist.alone(name), self.base, self._device)
        answers[SPECIALIST] = TaskAnswers.read(capability, features_of(alone.features, inputs))
        answers[BARE_BASE] = TaskAnswers.read(capability.uncalibrated(), bare)
        if split in ("val", "test") and len(dataset.train) and len(dataset.val):
            train, val = self._labelled(dataset.train), self._labelled(dataset.val)
            probe = fit_probe(capability.task, train, val)
            answers[PROBE] = TaskAnswers(probe.probs(bare.numpy()))
        return answers

    def _labelled(self, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Features of the bare base (N, features) with their labels: what a probe is fitted to."""
        samples, inputs = Inputs.of(samples, self.base)
        return features_of(self._bare.features, inputs).numpy(), samples.labels


def _notes(answers: TaskAnswers, split: str) -> tuple[str, ...]:
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


def _site_notes(capability: Capability) -> tuple[str, ...]:
    count = len(capability.bricks)
    mean = f"the specialist of {capability.task.name} is the mean of its {count} sites"
    return (mean, *capability.notes) if count > 1 else ()


def normalised_balanced_accuracy(
    model: Mapping[str, Mapping[str, Replicates]],
    specialist: Mapping[str, Mapping[str, Replicates]],
) -> Replicates:
    """Mean over tasks of model / specialist on the same draws; undefined where the latter is 0."""
    score = "balanced_accuracy"
    return Replicates.mean([model[task][score] / specialist[task][score] for task in model])
