"""Points of ROC and precision-recall curves, and confusion matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medlego.data import Kind
from medlego.metrics.ranking import Ranking
from medlego.metrics.sample import Column, Sample
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Curves(ShortRepr):
    """One label's curves, from the strictest threshold to the laxest.

    Each array is (V + 1,) for V distinct probabilities. At `thresholds[i]` every image with at
    least that probability is called; the first is infinity, where none is and precision is one by
    convention. `precision` over `sensitivity` is the precision-recall curve.
    """

    label: str
    thresholds: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray
    precision: np.ndarray


def curves(sample: Sample) -> tuple[Curves, ...]:
    """Curves of every column of a sample that has positives and negatives."""
    return tuple(
        _curves(column)
        for column in sample.columns
        if column.positive.any() and not column.positive.all()
    )


def confusion(sample: Sample) -> dict[str, np.ndarray]:
    """Counts of images, rows the truth and columns the answer.

    Returns:
        One matrix (labels, labels) under the task's name; of a multilabel task one (2, 2) for each
        label, absent before present, of the images where it is known.
    """
    if sample.task.kind is Kind.MULTILABEL:
        return {c.label: _counts(c.positive, c.given, 2) for c in sample.columns}
    return {sample.task.name: _counts(sample.labels, sample.answers, len(sample.task.labels))}


def _curves(column: Column) -> Curves:
    found = Ranking.of(column.probs, column.positive, np.ones((1, len(column.probs))))
    hits, alarms = (np.concatenate([[0.0], part[0]]) for part in (found.hits, found.alarms))
    called = hits + alarms
    return Curves(
        label=column.label,
        thresholds=np.concatenate([[np.inf], found.thresholds]),
        sensitivity=hits / hits[-1],
        specificity=1 - alarms / alarms[-1],
        precision=np.concatenate([[1.0], hits[1:] / called[1:]]),
    )


def _counts(truth: np.ndarray, answer: np.ndarray, size: int) -> np.ndarray:
    pairs = truth.astype(np.int64) * size + answer.astype(np.int64)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)
