"""Isotropic merging: every direction of the merged delta gets the same strength."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medlego.bricks import LowRank
from medlego.merge.core import Core, polar
from medlego.merge.method import (
    NEGLIGIBLE,
    Merged,
    Method,
    MethodSettings,
    Share,
    TaskVector,
    merge_targets,
    numerical_rank,
)

COMMON = 0.8


class IsoCtsSettings(MethodSettings):
    """`common`: share of the directions taken from the sum; the rest is the tasks' own."""

    common: Annotated[float, Field(gt=0, le=1)] = COMMON


def merge_iso_c(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float], rank: int | None = None
) -> Merged:
    """The exact SVD of Σ c_t ΔW_t, every singular value replaced by their mean.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless.
        rank: cut each merged delta to this rank, or keep all (None).

    Returns:
        Deltas of the numerical rank of the sum (singular values above 1e-6 of its largest); a cut
        keeps its leading directions.

    Raises:
        MergeError: a sum too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Marczak et al. 2025, arXiv:2502.04959, equation 6 (Iso-C).
    Differs: the mean runs over the sum's numerical rank (core space). Over all min(out, in)
        directions nearly all of the energy would leave the span of the bricks.
    """
    return merge_targets(task_vectors, coefficients, rank, _flatten)


def merge_iso_cts(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    common: float = COMMON,
) -> Merged:
    """Directions common to all from the sum, further ones from each task, all of one strength.

    Each of the K tasks gets n = round((R − ⌊common · R⌋) / K) of the R directions of the sum, the
    common space the rest: k = R − n K. Kept are the leading k directions of the sum, and of each
    task the leading n of (I − Ũ Ũᵀ) c_t ΔW_t, with Ũ the kept left ones. Left and right directions
    are made orthonormal together, and every strength becomes their mean.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless.
        rank: cut each merged delta to this rank, or keep all (None).
        common: share of the directions taken from the sum, 0 < common <= 1; 1 is `iso-c`.

    Returns:
        Deltas of rank at most R.

    Raises:
        MergeError: a sum too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Marczak et al. 2025, arXiv:2502.04959, algorithm 1 (Iso-CTS); n and k as in the
        authors' code, github.com/danielm1405/iso-merging, src/utils/iso.py.
    Differs: R is the sum's numerical rank (see `merge_iso_c`), not min(out, in). That is hundreds,
        and n never zero at the default; here n is at least one wherever common < 1 and K < R.
    """
    merge_one = partial(_common_and_own, common=common)
    return merge_targets(task_vectors, coefficients, rank, merge_one)


def _flatten(_name: str, shares: Sequence[Share]) -> LowRank:
    core = Core.of(shares)
    U, S, Vh = torch.linalg.svd(core.total(), full_matrices=False)
    rank = numerical_rank(S)
    if not rank:
        return LowRank.zero(shares[0][0].shape)
    return core.restore_product(U[:, :rank], S[:rank].mean().expand(rank), Vh[:rank].mT)


def _common_and_own(_name: str, shares: Sequence[Share], common: float) -> LowRank:
    core = Core.of(shares)
    U, S, Vh = torch.linalg.svd(core.total(), full_matrices=False)
    whole, tasks = numerical_rank(S), len(shares)
    if not whole:
        return LowRank.zero(shares[0][0].shape)
    rest = whole - int(common * whole)
    each = min(round(rest / tasks), whole // tasks) or int(rest > 0 and tasks < whole)
    shared = whole - each * tasks
    lefts, values, rights = [U[:, :shared]], [S[:shared]], [Vh[:shared].mT]
    if each:
        for U_own, S_own, right in _own_directions(core, U[:, :shared]):
            lefts.append(U_own[:, :each])
            values.append(S_own[:each])
            rights.append(right[:, :each])
    left, right = _together(lefts), _together(rights)
    return core.restore_product(left, torch.cat(values).mean().expand(left.shape[1]), right)


def _together(parts: list[Tensor]) -> Tensor:
    """Blocks of orthonormal columns made orthonormal together."""
    return polar(torch.cat(parts, dim=1)) if len(parts) > 1 else parts[0]


def _own_directions(core: Core, shared: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each task the SVD of what of c_t ΔW_t lies outside the shared left directions."""
    outside = (core.lefts - shared @ (shared.mT @ core.lefts)) * core.scaled
    parts = (core.split(columns) for columns in (outside, core.rights, core.scaled))
    for own, right, strengths in zip(*parts, strict=True):
        U, S, turn = torch.linalg.svd(own, full_matrices=False)
        count = int((NEGLIGIBLE * strengths.norm() < S).sum())
        yield U[:, :count], S[:count], right @ turn[:count].mT  # right has orthonormal columns


ISO_C = Method(
    name="iso-c",
    summary="the sum, every singular value replaced by their mean",
    source="arXiv:2502.04959",
    merge=merge_iso_c,
    auto="norm",
)
ISO_CTS = Method(
    name="iso-cts",
    summary="common directions of the sum and own ones of each task, all of one strength",
    source="arXiv:2502.04959",
    merge=merge_iso_cts,
    settings=IsoCtsSettings,
    auto="norm",
)
