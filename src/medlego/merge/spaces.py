"""Where methods that work entry by entry see the deltas: in full, in core space, in KnOTS' space.

A space writes the deltas of one target as matrices M_t of one shape, a rule makes one matrix of
them, and the space brings that back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medlego.bricks import LowRank, beside, fix_signs
from medlego.merge.core import Core
from medlego.merge.method import (
    Merged,
    Share,
    TaskVector,
    merge_targets,
    not_zero,
    numerical_rank,
)

ROUNDING = 1e-5
"""Entries below this share of a matrix's largest are taken for rounding of float32 factors."""


@dataclass(frozen=True, eq=False)
class Stack:
    """One target's deltas in a space, and the way back.

    matrices (K, p, q); `restore` brings one (p, q) matrix back to a canonical delta.
    """

    matrices: Tensor
    restore: Callable[[Tensor], LowRank]


Space = Callable[[Sequence[Share]], Stack]

Rule = Callable[[Tensor, Tensor, str], Tensor]
"""(K, p, q) matrices, (K,) coefficients and the target's name to one (p, q) matrix."""


def full_space(shares: Sequence[Share]) -> Stack:
    """The deltas themselves, (K, out, in)."""
    return Stack(torch.stack([delta.dense() for delta, _ in shares]), LowRank.from_dense)


def core_space(shares: Sequence[Share]) -> Stack:
    """M_t = Q_uᵀ ΔW_t Q_v, exactly ΔW_t = Q_u M_t Q_vᵀ; (K, R, R) with R at most Σ r_t.

    Q_u are the left singular vectors of [U_t √σ_t], Q_v the right ones of the stacked √σ_t V_tᵀ.
    Rules that look at entries depend on the basis, so it is named here.

    Source: arXiv:2509.17786.
    Differs: the factors are canonical and share σ evenly, so that the basis does not depend on
        how a LoRA was scaled, and has distinct singular values where the σ are distinct.
    """
    core = Core.of(shares)
    root = core.strengths.sqrt()
    left, right = _basis(core.lefts * root), _basis(core.rights * root)
    matrices = core.matrices(left, right)
    return Stack(matrices, lambda matrix: core.restore(left @ matrix @ right.mT))


def knots_space(shares: Sequence[Share]) -> Stack:
    """M_t = Σ V_tᵀ of the SVD [ΔW_1 … ΔW_K] = U Σ [V_1ᵀ … V_Kᵀ]; (K, R, in), R at most Σ r_t.

    On factors: as the rows of each Vh are orthonormal, that SVD is the one of [U_1 σ_1 … U_K σ_K]
    with its right side turned by the Vh.

    Source: Stoica et al. 2024, arXiv:2410.19735.
    """
    left, lefts = torch.linalg.qr(beside([delta.U for delta, _ in shares]))
    strengths = torch.cat([delta.S for delta, _ in shares]).double()
    U, S, Wh = torch.linalg.svd(lefts.double() * strengths, full_matrices=False)
    rank = numerical_rank(S)
    turned = (S[:rank, None] * Wh[:rank]).float()
    blocks = turned.split_with_sizes([delta.rank for delta, _ in shares], dim=1)
    matrices = torch.empty(len(shares), rank, shares[0][0].shape[1])
    for matrix, block, (delta, _) in zip(matrices, blocks, shares, strict=True):
        torch.mm(block, delta.Vh, out=matrix)

    def restore(matrix: Tensor) -> LowRank:
        right, small = torch.linalg.qr(matrix.mT)
        inner, values, outer = torch.linalg.svd(small.mT.double(), full_matrices=False)
        back = left @ (U[:, :rank] @ inner).float()
        return fix_signs(back, values.float(), outer.float() @ right.mT)

    return Stack(matrices, restore)


def merge_in(
    space: Space,
    rule: Rule,
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None,
) -> Merged:
    """Apply a rule to every target in a space, and cut the result to a rank."""

    def merge_one(name: str, shares: Sequence[Share]) -> LowRank:
        stack = space(shares)
        weights = torch.tensor([c for _, c in shares], dtype=stack.matrices.dtype)
        return stack.restore(rule(stack.matrices, weights, name))

    return merge_targets(task_vectors, coefficients, rank, merge_one, not_zero)


def without_rounding(matrices: Tensor) -> Tensor:
    """Entries near rounding set to zero: in an election even they would have a sign."""
    sizes = matrices.abs()
    return sizes.ge_(ROUNDING * sizes.amax(dim=(1, 2), keepdim=True)).mul_(matrices)


def _basis(columns: Tensor) -> Tensor:
    """Left singular vectors of the columns, those above rounding."""
    U, S, _ = torch.linalg.svd(columns, full_matrices=False)
    basis: Tensor = U[:, : numerical_rank(S)]
    return basis
