"""TIES: trim, elect a sign, average what agrees; in full, core and KnOTS' space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medlego.merge.method import Merged, Method, MethodSettings, TaskVector
from medlego.merge.spaces import ROUNDING, Space, core_space, full_space, knots_space, merge_in

DENSITY = 0.2


class TiesSettings(MethodSettings):
    """`density`: share of entries kept of each matrix."""

    density: Annotated[float, Field(gt=0, le=1)] = DENSITY


def merge_ties(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    density: float = DENSITY,
    space: Space = full_space,
) -> Merged:
    """Trim each delta, elect a sign per entry, average what agrees.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless; they scale what is averaged
            and have no say in the election.
        rank: cut each merged delta to this rank, or keep all (None).
        density: share of entries kept of each matrix, 0 < density <= 1, at least one.
        space: where the entries are looked at: `full_space` (ties), `core_space` (core-ties)
            or `knots_space` (knots-ties).

    Returns:
        Merged deltas: of rank min(out, in) in full space, since trimming breaks low rank, and
        at most Σ r_t in the others.

    Raises:
        MergeError: a result too large for float32.

    Cost: in full space an SVD of out × in a target, O(out · in · min(out, in)); in core space
        O((out + in) R² + K R² + R³), in KnOTS' space O(out R² + K R in log + in R²), R = Σ r_t.
    Source: Yadav et al. 2023, arXiv:2306.01708, algorithm 1; the spaces' own docstrings.
    Differs: trims each matrix, not the whole task vector at once, and averages over the entries
        that agree, before the coefficients are known to the election: as PEFT 0.21 does. Entries
        below 1e-5 of a matrix's largest are zero, since rounding has a sign and so a vote.
    """

    def rule(matrices: Tensor, weights: Tensor, _place: str) -> Tensor:
        return average_of_agreeing(trim(matrices, density), weights)

    return merge_in(space, rule, task_vectors, coefficients, rank)


def trim(matrices: Tensor, density: float) -> Tensor:
    """(K, p, q) with all but the largest `density` of each matrix's entries set to zero.

    So are entries near rounding. Of entries that are equal in magnitude the first are kept.
    """
    sizes = matrices.abs().flatten(1)
    count = max(1, int(density * sizes.shape[1]))
    least = np.partition(sizes.numpy(), -count, axis=1)[:, -count]
    bound = np.maximum(least, ROUNDING * sizes.numpy().max(axis=1))
    mask = sizes.ge_(torch.from_numpy(bound)[:, None])
    for row, number in enumerate(mask.sum(dim=1).tolist()):
        if number > count:
            equal = (matrices[row].abs().flatten() == float(least[row])).nonzero()
            mask[row, equal[count - int(number) :]] = 0
    return mask.view_as(matrices).mul_(matrices)


def average_of_agreeing(matrices: Tensor, coefficients: Tensor) -> Tensor:
    """Per entry, the weighted mean over the matrices whose sign is that of the sum; (p, q)."""
    elected = matrices.sum(dim=0).ge_(0).mul_(2).sub_(1)
    agreeing = (matrices * elected).relu_()
    total = elected * (coefficients @ agreeing.flatten(1)).view_as(elected)
    return total / agreeing.sign_().sum(dim=0).clamp_(min=1)


TIES = Method(
    name="ties",
    summary="trim, elect a sign per entry, average what agrees; on the full matrices",
    source="arXiv:2306.01708",
    merge=merge_ties,
    settings=TiesSettings,
    auto="norm",
    slope=0.0,
)
CORE_TIES = Method(
    name="core-ties",
    summary="ties on the small matrices of core space",
    source="arXiv:2509.17786",
    merge=partial(merge_ties, space=core_space),
    settings=TiesSettings,
    auto="norm",
    slope=0.0,
)
KNOTS_TIES = Method(
    name="knots-ties",
    summary="ties on the right factors of a joint SVD",
    source="arXiv:2410.19735",
    merge=partial(merge_ties, space=knots_space),
    settings=TiesSettings,
    auto="norm",
    slope=0.0,
)
