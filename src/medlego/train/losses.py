"""Losses per kind of task, weighted against imbalance, unknown labels masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.data import Kind, Task

MAX_POSITIVE_WEIGHT = 20.0


@dataclass(frozen=True, eq=False)
class Loss:
    """The training loss of one task.

    `weights` is (labels,): of each class, or of the positives of each label (multilabel).
    """

    task: Task
    weights: Tensor
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (N, outputs).
            labels: (N,) int64, or (N, labels) float32 with NaN for unknown.
        """
        weights = self.weights.to(logits)
        if self.task.kind is Kind.MULTICLASS:
            return F.cross_entropy(logits, labels, weights, label_smoothing=self.smoothing)
        if self.task.kind is Kind.MULTILABEL:
            known = ~torch.isnan(labels)
            goal = torch.nan_to_num(labels) * (1 - self.smoothing) + self.smoothing / 2
            each = F.binary_cross_entropy_with_logits(
                logits, goal, pos_weight=weights, reduction="none"
            )
            return (each * known).sum() / known.sum().clamp(min=1)
        # Binary is ordinal with one threshold: P(y > k) for each k (CORAL, arXiv:1901.07884).
        steps = torch.arange(logits.shape[1], device=logits.device)
        goal = (labels[:, None] > steps).to(logits) * (1 - self.smoothing) + self.smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean(dim=1)
        return (each * weights[labels]).sum() / weights[labels].sum()


def class_weights(task: Task, labels: np.ndarray, balanced: bool) -> Tensor:
    """Weights that give every class the same say, (labels,).

    One label per image: N / (classes · count), so that they average one over the images.
    Multilabel: negatives / positives of each label, at most `MAX_POSITIVE_WEIGHT`.
    """
    if not balanced:
        return torch.ones(len(task.labels))
    if task.kind is Kind.MULTILABEL:
        positives = np.nansum(labels, axis=0)
        known = (~np.isnan(labels)).sum(axis=0)
        ratio = (known - positives) / np.maximum(positives, 1)
        return torch.from_numpy(
            np.clip(ratio, 1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT)
        ).float()
    counts = np.bincount(labels, minlength=len(task.labels))
    return torch.from_numpy(len(labels) / (len(task.labels) * np.maximum(counts, 1))).float()
