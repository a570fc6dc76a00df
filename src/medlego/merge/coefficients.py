"""How much of each brick goes into a merge."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medlego.errors import MergeError

Coefficients = str | float | Sequence[float]
"""`auto`, one number for all bricks, or one number per brick."""


def resolve_coefficients(coefficients: Coefficients, count: int) -> tuple[float, ...]:
    """One coefficient per brick.

    `auto` is 1/√K for K bricks: near-orthogonal deltas of similar norm then add up to the norm
    of one, which is what the layers behind them were trained to bear. It needs no data.

    Raises:
        MergeError: the count does not match, or a number is not finite.
    """
    if isinstance(coefficients, str):
        if coefficients != "auto":
            raise MergeError(f"coefficients: expected 'auto' or numbers, got {coefficients!r}")
        return (1 / math.sqrt(count),) * count
    if isinstance(coefficients, int | float):
        coefficients = (float(coefficients),) * count
    given = tuple(float(c) for c in coefficients)
    if len(given) != count:
        raise MergeError(
            f"coefficients: expected one per brick ({count}) or a single number, got {len(given)}"
        )
    if not all(map(math.isfinite, given)):
        raise MergeError(f"coefficients: expected finite numbers, got {given}")
    return given
