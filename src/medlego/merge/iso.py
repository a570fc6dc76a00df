"""Isotropic merging: every direction of the merged delta gets the same strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from medlego.lowrank import LowRank
from medlego.merge.core import Core, polar
from medlego.merge.method import (
    NEGLIGIBLE,
    Merged,
    Method,
    MethodSettings,
    Share,
    TaskVector,
    by_target,
    cut,
    effective,
    nothing,
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
        Deltas of the numerical rank of the sum.

    Raises:
        MergeError: a sum too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Marczak et al. 2025, arXiv:2502.04959, equation 6 (Iso-C).
    Differs: the mean runs over the sum's numerical rank (core space). Over all min(out, in)
        directions nearly all of the energy would leave the span of the bricks.
    """
    whole = {
        name: _flatten(shares) for name, shares in by_target(task_vectors, coefficients).items()
    }
    return cut(whole, rank)


def merge_iso_cts(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    common: float = COMMON,
) -> Merged:
    """Directions common to all from the sum, further ones from each task, all of one strength.

    Of the R directions of the sum the leading k = round(common · R) are kept. Each task adds the
    leading (R − k) / K directions of (I − Ũ Ũᵀ) c_t ΔW_t, with Ũ the kept left ones. Left and
    right directions are made orthonormal together, and every strength becomes their mean.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless.
        rank: cut each merged delta to this rank, or keep all (None).
        common: share of the directions taken from the sum, 0 < common <= 1.

    Returns:
        Deltas of rank at most R.

    Raises:
        MergeError: a sum too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Marczak et al. 2025, arXiv:2502.04959, algorithm 1 (Iso-CTS).
    Differs: R is the sum's numerical rank (core space), not min(out, in), and directions that do
        not divide evenly among the tasks are left out.
    """
    whole = {
        name: _common_and_own(shares, common)
        for name, shares in by_target(task_vectors, coefficients).items()
    }
    return cut(whole, rank)


def _flatten(shares: Sequence[Share]) -> LowRank:
    held = effective(shares)
    if not held:
        return nothing(shares)
    core = Core.of(held)
    U, S, Vh = torch.linalg.svd(core.total(), full_matrices=False)
    kept = numerical_rank(S)
    return core.restore(S[:kept].sum() / max(1, kept) * U[:, :kept] @ Vh[:kept])


def _common_and_own(shares: Sequence[Share], common: float) -> LowRank:
    held = effective(shares)
    if not held:
        return nothing(shares)
    core = Core.of(held)
    U, S, Vh = torch.linalg.svd(core.total(), full_matrices=False)
    whole = numerical_rank(S)
    kept = max(1, round(common * whole))
    shared = U[:, :kept]
    lefts, values, rights = [shared], [S[:kept]], [Vh[:kept].mT]
    for left, right, strengths, c in zip(
        core.lefts, core.rights, core.strengths, core.coefficients, strict=True
    ):
        outside = (left - shared @ (shared.mT @ left)) * (c * strengths)
        U_own, S_own, turn = torch.linalg.svd(outside, full_matrices=False)
        above = int((S_own > NEGLIGIBLE * abs(c) * strengths.norm()).sum())
        count = min((whole - kept) // len(held), above)
        lefts.append(U_own[:, :count])
        values.append(S_own[:count])
        rights.append(right @ turn[:count].mT)  # right has orthonormal columns
    left, right = polar(torch.cat(lefts, dim=1)), polar(torch.cat(rights, dim=1))
    return core.restore(torch.cat(values).mean() * left @ right.mT)


ISO_C = Method(
    name="iso-c",
    summary="the sum, every singular value replaced by their mean",
    source="arXiv:2502.04959",
    merge=merge_iso_c,
)
ISO_CTS = Method(
    name="iso-cts",
    summary="common directions of the sum and own ones of each task, all of one strength",
    source="arXiv:2502.04959",
    merge=merge_iso_cts,
    settings=IsoCtsSettings,
)
