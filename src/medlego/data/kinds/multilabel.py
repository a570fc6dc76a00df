"""Any number of labels at once."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.data.kinds.kind import TRIFLE, Kind

HALF = 0.5
MAX_POSITIVE_WEIGHT = 20.0


@final
class Multilabel(Kind):
    """A logit for each label by itself; what is unknown carries no loss and no score."""

    name = "multilabel"
    summary = "any number of labels at once, each present, absent or unknown"
    least = 1
    exclusive = False
    thresholds = True
    merging = "rows"
    selects_by = "auroc"
    scores = ("sensitivity", "specificity")

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        known = ~torch.isnan(labels)
        goal = torch.nan_to_num(labels) * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(
            logits, goal, pos_weight=weights, reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def class_weights(self, labels: np.ndarray) -> Tensor:
        """Of the positives of each label: negatives / positives, within bounds."""
        positives = np.nansum(labels, axis=0)
        known = (~np.isnan(labels)).sum(axis=0)
        ratio = (known - positives) / np.maximum(positives, 1)
        bounded = np.clip(ratio, 1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT)
        return torch.from_numpy(bounded).float()

    def decide(self, probs: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        above: np.ndarray = probs > (HALF if thresholds is None else thresholds)
        return above

    def places(self, answer: np.ndarray) -> list[int]:
        return np.flatnonzero(answer).tolist()

    def wrong_answers(self, labels: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        middle = HALF if thresholds is None else thresholds
        return np.where(labels > 0, middle - TRIFLE, middle + TRIFLE)

    def matrix(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def read(self, raw: np.ndarray) -> np.ndarray:
        values = raw.astype(np.float32)
        good = np.isnan(values) | (values == 0) | (values == 1)
        if values.shape[1] != self.count or not good.all():
            raise ValueError(f"expected 0, 1 or NaN for {self.count} labels")
        return values

    def relabel(self, labels: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where several get one place, it is present if one is, and absent only if all are."""
        placed = np.full((len(labels), self.count), np.nan, dtype=np.float32)
        for place in set(to.tolist()) - {-1}:
            columns = labels[:, to == place]
            placed[:, place] = np.where((columns == 1).any(axis=1), 1, columns.max(axis=1))
        return np.arange(len(labels)), placed
