"""Points of ROC and precision-recall curves, and confusion matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

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
        One matrix (labels, labels) under the task's name; where labels do not exclude each other
        one (2, 2) for each, absent before present, of the images where it is known.
    """
    if not sample.task.rules.exclusive:
        return {c.label: _counts(c.positive, c.answered, 2) for c in sample.columns}
    return {sample.task.name: _counts(sample.labels, sample.answers, len(sample.task.labels))}


def _curves(column: Column) -> Curves:
    truth, probs = column.positive, column.probs
    alarms, sensitivity, thresholds = roc_curve(truth, probs, drop_intermediate=False)
    precision, _, _ = precision_recall_curve(truth, probs)
    return Curves(column.label, thresholds, sensitivity, 1 - alarms, precision[::-1])


def _counts(truth: np.ndarray, answer: np.ndarray, size: int) -> np.ndarray:
    counts: np.ndarray = confusion_matrix(truth, answer, labels=range(size))
    return counts
