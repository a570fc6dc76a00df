"""Exactly one of several labels."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor

from medlego.data.kinds.kind import Kind


@final
class Multiclass(Kind):
    """A softmax over one logit per label."""

    name = "multiclass"
    summary = "exactly one of several labels"
    merging = "softmax"

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        return F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
