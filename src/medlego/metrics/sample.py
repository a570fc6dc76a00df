"""What is scored: a model's probabilities beside the truth, and the labels that it answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medlego.data import Kind, Task
from medlego.metrics.bootstrap import patient_numbers
from medlego.support import ShortRepr

HALF = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Column(ShortRepr):
    """One label against the rest, on the images where it is known.

    `known` (N,) selects those n images; `probs`, `positive` and `given` are (n,): its probability,
    whether it is true and whether it is answered.
    """

    label: str
    known: np.ndarray
    probs: np.ndarray
    positive: np.ndarray
    given: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Sample(ShortRepr):
    """One model's answers to labelled images.

    `probs` is (N, labels); `labels` is (N,) int64, or (N, labels) with NaN for unknown;
    `patients` is (N,) of ids where known. `thresholds` are those of the task's columns: (1,) of a
    binary task, (labels,) of a multilabel one; left out, what is likelier is answered.
    """

    task: Task
    probs: np.ndarray
    labels: np.ndarray
    patients: np.ndarray | None = None
    thresholds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.probs)

    @cached_property
    def patient_numbers(self) -> np.ndarray:
        """A number per image, the same for all of a patient's."""
        return patient_numbers(len(self), self.patients)

    @cached_property
    def answers(self) -> np.ndarray:
        """Labels answered: (N,) int64, or (N, labels) bool for multilabel tasks."""
        return decide(self.task, self.probs, self.thresholds)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every label; of two that exclude each other only the second, which implies the first."""
        labels = self.task.labels
        if self.task.kind is Kind.MULTILABEL:
            return tuple(self._cells(number, label) for number, label in enumerate(labels))
        return tuple(
            Column(
                label,
                np.ones(len(self), dtype=bool),
                self.probs[:, number],
                self.labels == number,
                self.answers == number,
            )
            for number, label in enumerate(labels)
            if len(labels) > 2 or number == 1
        )

    def _cells(self, number: int, label: str) -> Column:
        known = ~np.isnan(self.labels[:, number])
        return Column(
            label,
            known,
            self.probs[known, number],
            self.labels[known, number] > 0,
            self.answers[known, number],
        )

    @cached_property
    def beliefs(self) -> tuple[Column, ...]:
        """What calibration speaks of: each label's probability, or the likeliest label's.

        Of tasks with three labels and more that exclude each other it is one column: how sure the
        model is of the likeliest label, and whether that is the true one.
        """
        if self.task.kind is Kind.MULTILABEL or len(self.task.labels) == 2:
            return self.columns
        likeliest = self.probs.argmax(axis=1)
        right = likeliest == self.labels
        whole = np.ones(len(self), dtype=bool)
        return (Column("likeliest label", whole, self.probs.max(axis=1), right, whole),)


def decide(task: Task, probs: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """Labels that probabilities come to.

    Args:
        task: says how they are read.
        probs: (N, labels).
        thresholds: of the second label of a binary task (1,), of each of a multilabel one
            (labels,); one half by default. Others answer the likeliest label.

    Returns:
        (N,) int64, or (N, labels) bool for multilabel tasks.
    """
    if task.kind is Kind.MULTILABEL:
        above: np.ndarray = probs > (HALF if thresholds is None else thresholds)
        return above
    if task.kind is Kind.BINARY and thresholds is not None:
        positive: np.ndarray = (probs[:, 1] > thresholds[0]).astype(np.int64)
        return positive
    likeliest: np.ndarray = probs.argmax(axis=1)
    return likeliest
