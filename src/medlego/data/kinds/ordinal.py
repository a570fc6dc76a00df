"""Exactly one of several labels that have an order."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.data.kinds.kind import Kind

SMALLEST_GAP = 1e-4


@final
class Ordinal(Kind):
    """One direction with a threshold between each pair of neighbours: P(y > k) = σ(z_k).

    Source: CORAL, Cao et al. 2020, arXiv:1901.07884.
    Differs: positive gaps keep the thresholds in order, so that no probability is negative.
    """

    name = "ordinal"
    summary = "exactly one of several labels that have an order, lowest first"
    scale = True
    fixed_order = "an ordinal head has its thresholds between neighbours"
    merging = "whole"
    linear = False
    falling_bias = True
    scores = ("quadratic_kappa",)

    @property
    def head_shape(self) -> tuple[int, int]:
        return 1, self.count - 1

    def probabilities(self, logits: Tensor) -> Tensor:
        above = F.pad(logits.sigmoid(), (1, 0), value=1.0)
        return above - F.pad(above[:, 1:], (0, 1), value=0.0)

    def new_bias(self) -> Tensor:
        """Thresholds spread evenly from 1 to −1; a single one at 0."""
        bias = super().new_bias()
        if len(bias) > 1:
            bias[1:] = math.log(math.expm1(2.0 / (len(bias) - 1)))
            bias[0] = 1.0
        return bias

    def bias(self, free: Tensor) -> Tensor:
        gaps = F.softplus(free[1:])
        return torch.cat([free[:1], free[:1] - torch.cumsum(gaps, dim=0)])

    def free_bias(self, bias: Tensor) -> Tensor:
        gaps = (bias[:-1] - bias[1:]).clamp(min=SMALLEST_GAP)
        return torch.cat([bias[:1], gaps + torch.log(-torch.expm1(-gaps))])

    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        return steps_loss(logits, labels, weights, smoothing)


def steps_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy of y > k for each logit k, averaged, images weighted by class."""
    steps = torch.arange(logits.shape[1], device=logits.device)
    goal = (labels[:, None] > steps).to(logits) * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean(dim=1)
    return (each * weights[labels]).sum() / weights[labels].sum()
