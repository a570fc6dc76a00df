"""Task arithmetic over any number of bricks that come one by one, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from medlego.bricks import LowRank, beside, scaled_values, weighted_sum
from medlego.errors import MergeError
from medlego.merge.method import Merged, Share, TaskVector, cut
from medlego.support import Progress, silent

LARGEST = torch.finfo(torch.float32).max


def merge_stream(
    bricks: Iterable[tuple[TaskVector, float]], rank: int | None = None, *, show: Progress = silent
) -> Merged:
    """Σ_t c_t ΔW_t of every target, as `merge_linear`, of bricks that nobody has to hold at once.

    A target's deltas wait as factors. When their ranks together reach min(out, in), the matrix
    itself is no larger: they are added to it in float64, and the wait begins anew.

    Args:
        bricks: task vectors with their coefficients; each is let go before the next is asked for,
            but for factors that wait. One whose coefficient is zero is not there.
        rank: cut each merged delta to this rank, or keep all (None).
        show: told how many targets are decomposed; whoever makes `bricks` tells how many came.

    Returns:
        What the method `linear` returns: the same bytes where Σ r_t stays below out and in, equal
        to rounding from there. The order of bricks changes no more than rounding.

    Raises:
        MergeError: a sum too large for float32, or a target of two shapes.

    Cost: memory of 16 · out · in bytes a target at the most, however many bricks;
        O(R · out · in) for the sums, R = Σ r_t, and one dense SVD a target.
    """
    totals: dict[str, _Total] = {}
    for vector, coefficient in bricks:
        if coefficient:
            _add(totals, vector, coefficient)
        del vector  # before the next brick is asked for
    whole = {}
    for number, name in enumerate(names := list(totals)):
        show("decomposing", number, len(names))
        whole[name] = totals.pop(name).canonical()
    return cut(whole, rank)


def _add(totals: dict[str, _Total], vector: TaskVector, coefficient: float) -> None:
    for name, delta in vector.items():
        totals.setdefault(name, _Total(name, delta.shape)).add(delta, coefficient)


class _Total:
    """One target's sum so far: a dense part, and the factors that wait."""

    def __init__(self, name: str, shape: tuple[int, int]) -> None:
        self._name, self._shape = name, shape
        self._size = 0.0
        self._waiting: list[Share] = []
        self._dense: Tensor | None = None

    def add(self, delta: LowRank, coefficient: float) -> None:
        """Take one brick's delta in.

        Raises:
            MergeError: the sum grows too large for float32, or the delta has another shape.
        """
        if delta.shape != self._shape:
            raise MergeError(
                f"target {self._name!r}: expected shape {self._shape} as in the bricks before, "
                f"got {delta.shape}"
            )
        self._size += abs(coefficient) * float(delta.S.sum(dtype=torch.float64))
        if not self._size < LARGEST:
            raise MergeError(
                f"coefficients: expected a sum that float32 holds, got {coefficient} and a "
                f"total of {self._size:.3g} for target {self._name!r}"
            )
        self._waiting.append((delta, coefficient))
        if sum(waiting.rank for waiting, _ in self._waiting) >= min(self._shape):
            self._settle()

    def canonical(self) -> LowRank:
        """The sum of all that came."""
        if self._dense is None:
            return weighted_sum(*zip(*self._waiting, strict=True))
        if self._waiting:
            self._settle()
        return LowRank.from_dense(self._dense)

    def _settle(self) -> None:
        deltas, coefficients = zip(*self._waiting, strict=True)
        left = beside([delta.U for delta in deltas]).double() * scaled_values(deltas, coefficients)
        right = torch.cat([delta.Vh for delta in deltas]).double()
        self._dense = left @ right if self._dense is None else self._dense.addmm_(left, right)
        self._waiting = []
