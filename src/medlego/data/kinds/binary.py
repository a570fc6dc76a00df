"""One of two labels."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from medlego.data.kinds.kind import Kind
from medlego.data.kinds.ordinal import steps_loss


@final
class Binary(Kind):
    """One logit, for the second label; its threshold is one half unless somebody chose one."""

    name = "binary"
    summary = "one of two labels; probabilities speak of the second"
    most = 2
    thresholds = True
    fixed_order = "a binary head speaks of the second label"
    merging = "whole"
    positive = 1
    scores = ("sensitivity", "specificity")

    @property
    def head_shape(self) -> tuple[int, int]:
        return 1, 1

    def probabilities(self, logits: Tensor) -> Tensor:
        positive = logits.sigmoid()
        return torch.cat([1 - positive, positive], dim=1)

    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        return steps_loss(logits, labels, weights, smoothing)
