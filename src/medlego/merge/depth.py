"""Later blocks weigh more: a merge multiplied by a profile over the depth of the base.

What unrelated bricks disturb in an early block, every later block passes on; what they disturb in
the last ones only the head sees. So with K tasks a coefficient c becomes c · K^(slope · (d − ½)),
d the block's depth from 0 to 1: with 1/√K and a slope of 1 from 1/K in the first block to 1 in the
last. One task alone is left as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from medlego.errors import MergeError
from medlego.merge.method import Merged

MAX_SLOPE = 2.0

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def check_slope(slope: float) -> None:
    """Refuse a slope out of range.

    Raises:
        MergeError: not finite, or beyond ±`MAX_SLOPE`.
    """
    if not (math.isfinite(slope) and abs(slope) <= MAX_SLOPE):
        raise MergeError(f"slope: expected {-MAX_SLOPE:g} to {MAX_SLOPE:g}, got {slope}")


def depth_factors(names: Iterable[str], tasks: int, slope: float) -> dict[str, float]:
    """What each target's coefficients are multiplied by.

    Args:
        names: of the targets, `blocks.<number>.…`; the largest number is taken for the base's
            last block. Others count as half-way.
        tasks: how many are merged, K.
        slope: see above; 0 leaves everything as it is.
    """
    blocks = {name: _block(name) for name in names}
    deepest = max((number for number in blocks.values() if number is not None), default=0)
    return {
        name: tasks ** (slope * (number / deepest - 0.5)) if deepest and number is not None else 1.0
        for name, number in blocks.items()
    }


def with_slope(merged: Merged, tasks: int, slope: float) -> Merged:
    """The merge with every target multiplied by its depth's factor; losses likewise."""
    if not slope or tasks == 1:
        return merged
    factors = depth_factors(merged.deltas, tasks, slope)
    deltas = {n: replace(d, S=d.S * factors[n]) for n, d in merged.deltas.items()}
    return Merged(deltas, {n: loss * factors[n] for n, loss in merged.losses.items()})


def _block(name: str) -> int | None:
    match = _BLOCK.search(name)
    return None if match is None else int(match.group(1))
