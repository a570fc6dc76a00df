"""What is scored: a model's probabilities beside the truth, and the labels that it answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medlego.data import Task
from medlego.metrics.bootstrap import patient_numbers
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Column(ShortRepr):
    """One label against the rest, on the images where it is known.

    `known` (N,) selects those n images; `probs`, `positive` and `answered` are (n,): its
    probability, whether it is true and whether it is answered.
    """

    label: str
    known: np.ndarray
    probs: np.ndarray
    positive: np.ndarray
    answered: np.ndarray

    def where(self, part: np.ndarray) -> np.ndarray:
        """A mask (n,) of the known images as one (N,) of all."""
        whole = self.known.copy()
        whole[self.known] = part
        return whole


def several(task: Task) -> bool:
    """Whether a task's labels exclude each other and are more than two."""
    return task.rules.exclusive and len(task.labels) > 2


@dataclass(frozen=True, eq=False, repr=False)
class Sample(ShortRepr):
    """One model's answers to labelled images.

    `probs` is (N, labels); `labels` is as in `Samples.labels`; `patients` is (N,) of ids where
    known. `thresholds` are what the task's kind decides by: (1,) of a binary task, (labels,) of a
    multilabel one; left out, what is likelier is answered.
    """

    task: Task
    probs: np.ndarray
    labels: np.ndarray
    patients: np.ndarray | None = None
    thresholds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.probs)

    def take(self, rows: np.ndarray) -> Sample:
        """The answers to some of the images, by index or by mask."""
        patients = None if self.patients is None else self.patients[rows]
        return Sample(self.task, self.probs[rows], self.labels[rows], patients, self.thresholds)

    @cached_property
    def patient_numbers(self) -> np.ndarray:
        """A number per image, the same for all of a patient's."""
        return patient_numbers(len(self), self.patients)

    @cached_property
    def answers(self) -> np.ndarray:
        """What is answered, as `Kind.decide` gives it."""
        return self.task.rules.decide(self.probs, self.thresholds)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every label; of two that exclude each other only the second, which implies the first."""
        rules, labels = self.task.rules, self.task.labels
        truth, answers = (rules.matrix(part) for part in (self.labels, self.answers))
        columns = []
        for number, label in enumerate(labels):
            if rules.exclusive and len(labels) == 2 and number == 0:
                continue
            known = ~np.isnan(truth[:, number])
            probs, positive, answered = (
                part[known, number] for part in (self.probs, truth, answers)
            )
            columns.append(Column(label, known, probs, positive > 0, answered > 0))
        return tuple(columns)

    @property
    def known(self) -> np.ndarray:
        """(N,): whether any label of an image is known."""
        known: np.ndarray = np.any([column.known for column in self.columns], axis=0)
        return known

    @cached_property
    def beliefs(self) -> tuple[Column, ...]:
        """What calibration speaks of: each label's probability, or the likeliest label's.

        Of tasks with three labels and more that exclude each other it is one column: how sure the
        model is of the likeliest label, and whether that is the true one.
        """
        if not several(self.task):
            return self.columns
        right = self.probs.argmax(axis=1) == self.labels
        whole = np.ones(len(self), dtype=bool)
        return (Column("likeliest label", whole, self.probs.max(axis=1), right, whole),)
