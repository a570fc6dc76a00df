"""What every kind of task brings: the one place where kinds differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

TRIFLE = 1e-6
"""How far a probability that is just wrong lies on the wrong side."""


@dataclass(frozen=True)
class Kind(ABC):
    """How the labels of a task relate to an image, and all that follows from it.

    Labels are (N,) int64 where they exclude each other, else (N, labels) float32 of 1, 0, and NaN
    for unknown; answers are (N,) int64 or (N, labels) bool. What stands here is of labels that
    exclude each other. Formulas of scores stand in the room `metrics`, which asks the flags.
    """

    count: int
    """Labels of the task."""

    name: ClassVar[str]
    """The word for it in files and on the command line."""
    summary: ClassVar[str]
    """What an image has, for people."""
    least: ClassVar[int] = 2
    """Fewest labels of a task."""
    most: ClassVar[int | None] = None
    """Most labels of a task."""
    exclusive: ClassVar[bool] = True
    """Whether labels exclude each other: an image has exactly one."""
    thresholds: ClassVar[bool] = False
    """Whether each logit is one label's alone, of the last labels of the task: it has a calibration
    map and a threshold of its own. Else one temperature calibrates all logits, and the likeliest
    label is answered."""
    scale: ClassVar[bool] = False
    """Whether labels are steps of a scale, lowest first, and shown in that order."""
    fixed_order: ClassVar[str] = ""
    """Why all sites must have the same labels in the same order; empty where they need not."""
    merging: ClassVar[Literal["whole", "rows", "softmax"]]
    """How heads of several sites become one: as a whole, label by label, or label by label up to
    the one row that may be added to all rows of a softmax head without changing an answer."""
    positive: ClassVar[int | None] = None
    """Place of the label of which sensitivity and specificity speak, if it is one."""
    linear: ClassVar[bool] = True
    """Whether a linear layer with as many outputs as labels holds the head, for other tools."""
    falling_bias: ClassVar[bool] = False
    """Whether the head's bias must not rise from one entry to the next."""
    selects_by: ClassVar[Literal["balanced_accuracy", "auroc"]] = "balanced_accuracy"
    """The score that chooses an epoch and the strength of a fit."""
    scores: ClassVar[tuple[str, ...]] = ()
    """Scores that not every kind has."""

    @property
    def size(self) -> str:
        """How many labels a task may have, in words."""
        return f"{self.least}" if self.least == self.most else f"at least {self.least}"

    @property
    def fits(self) -> bool:
        """Whether the task has so many."""
        return self.least <= self.count and (self.most is None or self.count <= self.most)

    @property
    def head_shape(self) -> tuple[int, int]:
        """Rows of the head's weight and length of its bias."""
        return self.count, self.count

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (N, outputs) to one probability per label, (N, labels)."""

    @abstractmethod
    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (N, outputs).
            labels: of the N images.
            weights: (labels,), see `class_weights`, of the logits' type and device.
            smoothing: share of the truth that goes to the other labels, in [0, 1).
        """

    def class_weights(self, labels: np.ndarray) -> Tensor:
        """Weights against imbalance, (labels,) float32.

        N / (classes · count of each), so that they average one over the images.
        """
        counts = np.bincount(labels, minlength=self.count)
        return torch.from_numpy(len(labels) / (self.count * np.maximum(counts, 1))).float()

    def new_bias(self) -> Tensor:
        """What training begins with, (outputs,); see `bias`."""
        return torch.zeros(self.head_shape[1])

    def bias(self, free: Tensor) -> Tensor:
        """The head's bias from as many numbers that training moves freely."""
        return free

    def free_bias(self, bias: Tensor) -> Tensor:
        """The numbers that `bias` makes a head's bias of, to go on training from it."""
        return bias

    def decide(self, probs: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        """Answers that probabilities (N, labels) come to.

        Args:
            probs: as `probabilities` gives them.
            thresholds: one per logit that has one: here of the second of two labels. Left out,
                what is likelier is answered.
        """
        likeliest: np.ndarray = probs.argmax(axis=1)
        return likeliest if thresholds is None else np.where(probs[:, 1] > thresholds[0], 1, 0)

    def wrong_answers(self, labels: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        """Probabilities that know nothing and are just wrong, (N, labels): no answer, for a score.

        All labels are alike but for the true one, which is a trifle less likely, or below the
        threshold.
        """
        if thresholds is not None:
            second = np.where(labels == 1, thresholds[0] - TRIFLE, thresholds[0] + TRIFLE)
            return np.stack([1 - second, second], axis=1)
        probs = np.full((len(labels), self.count), 1 / self.count)
        probs[np.arange(len(labels)), labels] -= TRIFLE
        return probs

    def places(self, answer: np.ndarray) -> list[int]:
        """Where the labels of one image's answer stand among the task's."""
        return [int(answer)]

    def matrix(self, labels: np.ndarray) -> np.ndarray:
        """Labels or answers as (N, labels): 1 and 0, NaN where unknown."""
        one_of: np.ndarray = labels[:, None] == np.arange(self.count)
        return one_of.astype(np.float32)

    def read(self, raw: np.ndarray) -> np.ndarray:
        """Labels of a file's numbers (N, columns).

        Raises:
            ValueError: columns or numbers that the task cannot have.
        """
        numbers = np.arange(self.count)
        if not np.isin(raw[:, 0], numbers).all():
            raise ValueError(
                f"expected whole numbers 0 to {numbers[-1]} for {self.count} labels; subtract 1 "
                "where they count from 1"
            )
        return raw[:, 0].astype(np.int64)

    def relabel(self, labels: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels put in the places of this task.

        Args:
            labels: of N images, of another task.
            to: each of its labels' place here, −1 for none; several may have one place.

        Returns:
            Indices of the images whose labels have a place, and their labels.
        """
        rows = np.flatnonzero(to[labels] >= 0)
        return rows, to[labels[rows]]
