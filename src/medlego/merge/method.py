"""What every merge method takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from medlego.lowrank import LowRank

TaskVector = Mapping[str, LowRank]
"""One brick's deltas by target name."""


@dataclass(frozen=True, eq=False)
class Merged:
    """Merged deltas by target name, and what a cut lost of each (Frobenius norm, absolute)."""

    deltas: Mapping[str, LowRank]
    losses: Mapping[str, float]

    @property
    def relative_loss(self) -> float:
        """Frobenius norm lost over the norm before the cut, all targets together."""
        lost = sum(loss**2 for loss in self.losses.values())
        kept = sum(float(torch.sum(delta.S.double() ** 2)) for delta in self.deltas.values())
        return (lost / (lost + kept)) ** 0.5 if lost else 0.0


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    `merge(task_vectors, coefficients, rank)` takes one task vector and one coefficient per
    brick; a target that a brick lacks counts as zero. `order_matters` says whether bricks may
    be permuted without changing the result beyond rounding.
    """

    name: str
    summary: str
    source: str
    merge: Callable[[Sequence[TaskVector], Sequence[float], int | None], Merged]
    order_matters: bool = False
