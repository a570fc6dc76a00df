"""Core space: all bricks' deltas of one target as small matrices between two shared bases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medlego.bricks import LowRank, beside, fix_signs, scaled_values
from medlego.merge.method import Share, numerical_rank

ORTHONORMAL = 1e-12
"""Largest entry of |CᵀC − I| at which columns C in float64 count as orthonormal."""


@dataclass(frozen=True, eq=False)
class Core:
    """ΔW_t = left · lefts_t · diag(σ_t) · rights_tᵀ · rightᵀ, exactly.

    left (out, p) and right (in, q) have orthonormal columns and are float32; p and q are at most
    R = Σ r_t. What is small is float64 and holds all bricks side by side, r_t columns each:
    lefts (p, R), rights (q, R), and the strengths σ (R,), which do not hold the coefficient.
    """

    left: Tensor
    right: Tensor
    lefts: Tensor
    rights: Tensor
    strengths: Tensor
    shares: Sequence[Share]
    ranks: list[int]

    @classmethod
    def of(cls, shares: Sequence[Share]) -> Core:
        """Reduce one target's deltas: two QRs, and nothing of size out × in.

        Cost: O((out + in) R²).
        Source: arXiv:2509.17786, with QR bases.
        """
        deltas = [delta for delta, _ in shares]
        left, lefts = torch.linalg.qr(beside([delta.U for delta in deltas]))
        right, rights = torch.linalg.qr(torch.cat([delta.Vh for delta in deltas]).mT)
        return cls(
            left,
            right,
            lefts.double(),
            rights.double(),
            torch.cat([delta.S for delta in deltas]).double(),
            shares,
            [delta.rank for delta in deltas],
        )

    @cached_property
    def scaled(self) -> Tensor:
        """c_t σ_t of every direction, (R,)."""
        return scaled_values(*zip(*self.shares, strict=True))

    def split(self, columns: Tensor) -> tuple[Tensor, ...]:
        """(…, R) cut into the bricks' parts, (…, r_t) each."""
        return columns.split_with_sizes(self.ranks, dim=-1)

    def matrices(self, left: Tensor, right: Tensor) -> Tensor:
        """Every ΔW_t without its coefficient, (K, a, b), in bases left (p, a), right (q, b)."""
        lefts = self.split((left.mT @ self.lefts) * self.strengths)
        rights = self.split(right.mT @ self.rights)
        return torch.stack([a @ b.mT for a, b in zip(lefts, rights, strict=True)])

    def total(self) -> Tensor:
        """Σ c_t ΔW_t, (p, q)."""
        return (self.lefts * self.scaled) @ self.rights.mT

    def restore(self, matrix: Tensor) -> LowRank:
        """left · matrix · rightᵀ in canonical form; matrix (p, q)."""
        return self._expand(*torch.linalg.svd(matrix, full_matrices=False))

    def restore_product(self, left: Tensor, values: Tensor, right: Tensor) -> LowRank:
        """As `restore` of left · diag(values) · rightᵀ; left (p, k), values (k,), right (q, k).

        Where the columns are orthonormal on both sides, this is their SVD but for order and signs;
        of equal values the first stay first.
        """
        if not (_is_orthonormal(left) and _is_orthonormal(right)):
            return self.restore((left * values) @ right.mT)
        order = values.abs().argsort(descending=True, stable=True)
        values = values[order]
        return self._expand(left[:, order] * values.sign(), values.abs(), right.mT[order])

    def _expand(self, U: Tensor, S: Tensor, Vh: Tensor) -> LowRank:
        return fix_signs(self.left @ U.float(), S.float(), Vh.float() @ self.right.mT)


def polar(columns: Tensor) -> Tensor:
    """The nearest matrix of orthonormal columns, P Qᵀ from the SVD P S Qᵀ.

    Where the columns are dependent, only what they span is kept: the rest is arbitrary.
    """
    P, S, Qh = torch.linalg.svd(columns, full_matrices=False)
    rank = numerical_rank(S)
    factor: Tensor = P[:, :rank] @ Qh[:rank]
    return factor


def _is_orthonormal(columns: Tensor) -> bool:
    gram = columns.mT @ columns
    gram.diagonal().sub_(1)
    return bool(gram.abs().max() <= ORTHONORMAL)
