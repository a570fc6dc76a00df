"""Scores of one task's answers: all models' replicates, the generalist's by label and group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medlego.data import Kind, Samples, Task
from medlego.evaluation.result import MODELS, Answers, TaskDetail
from medlego.metrics import (
    LABEL_SCORES,
    PROBABILISTIC,
    SCORES,
    Comparison,
    OperatingPoint,
    Sample,
    delong_interval,
    interval,
    label_replicates,
    paired_tests,
    score_names,
    score_replicates,
    subgroups,
    wrong_answers,
)

Replicates = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Draws:
    """Which bootstrap replicates a task's scores are computed on."""

    resamples: int
    seed: int

    def scores(self, task: Task, samples: Samples, answers: Answers) -> dict[str, np.ndarray]:
        """Every score of a model, (1 + resamples,) each; of probabilities where it answers."""
        names = score_names(task)
        decided = [name for name in names if name not in PROBABILISTIC]
        found = score_replicates(
            task,
            as_wrong(task, samples, answers),
            samples.labels,
            patients=samples.patients,
            resamples=self.resamples,
            seed=self.seed,
            names=decided,
            thresholds=answers.thresholds,
        )
        rows = slice(None) if answers.answered is None else answers.answered
        return found | score_replicates(
            task,
            answers.probs[rows],
            samples.labels[rows],
            patients=None if samples.patients is None else samples.patients[rows],
            resamples=self.resamples,
            seed=self.seed,
            names=PROBABILISTIC,
        )


def as_wrong(task: Task, samples: Samples, answers: Answers) -> np.ndarray:
    """Probabilities (N, labels) in which an image that is not answered is answered wrongly."""
    if answers.answered is None:
        return answers.probs
    wrong = wrong_answers(task, samples.labels, answers.thresholds)
    found: np.ndarray = np.where(answers.answered[:, None], answers.probs, wrong)
    return found


MAX_VALUES = 40
"""Groups with more values are no groups, but names of single images or people."""


def _left_out(groups: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray]) -> list[str]:
    return [
        f"no scores by {name}: it has {len(np.unique(values)):,} values, more than {MAX_VALUES}"
        for name, values in groups.items()
        if name not in shown
    ]


def detail(
    task: Task,
    samples: Samples,
    answers: Mapping[str, Answers],
    drawn: Mapping[str, Replicates],
    draws: Draws,
    operating: OperatingPoint | None,
    notes: tuple[str, ...],
) -> TaskDetail:
    """The generalist's scores by label and subgroup, and beside the specialist's.

    Args:
        task: what is asked.
        samples: its images.
        answers: per model.
        drawn: per model what `Draws.scores` gave.
        draws: the same.
        operating, notes: kept as they are.
    """
    mine, alone = (
        Sample(
            task,
            as_wrong(task, samples, answers[model]),
            samples.labels,
            samples.patients,
            answers[model].thresholds,
        )
        for model in (MODELS[0], MODELS[2])
    )
    by_label = label_replicates(
        task,
        mine.probs,
        mine.labels,
        patients=mine.patients,
        resamples=draws.resamples,
        seed=draws.seed,
        names=[name for name in LABEL_SCORES if name not in PROBABILISTIC],
        thresholds=mine.thresholds,
    )
    first, second = drawn[MODELS[0]], drawn[MODELS[2]]
    paired = [name for name in first if name not in PROBABILISTIC]
    binary = task.kind in (Kind.BINARY, Kind.MULTILABEL)
    shown = {n: v for n, v in samples.groups.items() if len(np.unique(v)) <= MAX_VALUES}
    return TaskDetail(
        task=task,
        samples=samples,
        answers=answers,
        labels={
            label: {name: interval(values) for name, values in found.items()}
            for label, found in by_label.items()
        },
        areas={
            column.label: delong_interval(
                column.probs,
                column.positive,
                None if mine.patients is None else mine.patients[column.known],
            )
            for column in mine.columns
        },
        groups=subgroups(
            mine,
            shown,
            names=(*SCORES, "sensitivity", "specificity") if binary else SCORES,
            resamples=draws.resamples,
            seed=draws.seed,
        ),
        comparison=Comparison(
            len(samples),
            {name: interval(first[name] - second[name]) for name in paired},
            paired_tests(mine, alone),
        ),
        operating=operating,
        notes=(*notes, *_left_out(samples.groups, shown)),
    )
