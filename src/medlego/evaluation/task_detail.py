"""Scores of one task's answers: all models' replicates, the generalist's by label and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medlego.data import Samples, Task
from medlego.evaluation.result import GENERALIST, SPECIALIST, TaskDetail
from medlego.metrics import (
    LABEL_SCORES,
    MAIN_SCORES,
    PROBABILISTIC,
    Comparison,
    Replicates,
    Sample,
    delong_interval,
    interval,
    label_replicates,
    paired_tests,
    score_names,
    score_replicates,
    subgroups,
)
from medlego.prediction import TaskAnswers


@dataclass(frozen=True)
class Draws:
    """Which bootstrap replicates a task's scores are computed on."""

    resamples: int
    seed: int

    def replicates(self, sample: Sample, names: Sequence[str]) -> dict[str, Replicates]:
        """Some scores."""
        return score_replicates(sample, names, resamples=self.resamples, seed=self.seed)

    def scores(self, task: Task, samples: Samples, answers: TaskAnswers) -> dict[str, Replicates]:
        """Every score of a model; of probabilities where it answers."""
        decided = [name for name in score_names(task) if name not in PROBABILISTIC]
        return {
            **self.replicates(answers.scored(task, samples), decided),
            **self.replicates(answers.sample(task, samples), PROBABILISTIC),
        }


MAX_VALUES = 40
"""Groups with more values are no groups, but names of single images or people."""


def _left_out(groups: Mapping[str, np.ndarray], charted: Mapping[str, np.ndarray]) -> list[str]:
    return [
        f"no scores by {name}: it has {len(np.unique(values)):,} values, more than {MAX_VALUES}"
        for name, values in groups.items()
        if name not in charted
    ]


def detail(
    task: Task,
    samples: Samples,
    answers: Mapping[str, TaskAnswers],
    drawn: Mapping[str, Mapping[str, Replicates]],
    draws: Draws,
    notes: tuple[str, ...],
) -> TaskDetail:
    """The generalist's scores by label and subgroup, and beside the specialist's.

    Args:
        task: what is asked.
        samples: its images.
        answers: per model.
        drawn: per model what `Draws.scores` gave.
        draws: the same.
        notes: kept as they are.
    """
    mine, alone = (answers[model].scored(task, samples) for model in (GENERALIST, SPECIALIST))
    by_label = label_replicates(
        mine,
        [name for name in LABEL_SCORES if name not in PROBABILISTIC],
        resamples=draws.resamples,
        seed=draws.seed,
    )
    first, second = drawn[GENERALIST], drawn[SPECIALIST]
    paired = [name for name in first if name not in PROBABILISTIC]
    charted = {n: v for n, v in samples.groups.items() if len(np.unique(v)) <= MAX_VALUES}
    return TaskDetail(
        task=task,
        samples=samples,
        answers=answers,
        labels={
            label: {name: interval(values) for name, values in scores.items()}
            for label, scores in by_label.items()
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
            charted,
            names=[n for n in first if n in (*MAIN_SCORES, "sensitivity", "specificity")],
            resamples=draws.resamples,
            seed=draws.seed,
        ),
        comparison=Comparison(
            len(samples),
            {name: interval(first[name] - second[name]) for name in paired},
            paired_tests(mine, alone),
        ),
        notes=(*notes, *_left_out(samples.groups, charted)),
    )
