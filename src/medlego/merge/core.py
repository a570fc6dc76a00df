"""Core space: all bricks' deltas of one target as small matrices between two shared bases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medlego.lowrank import LowRank, fix_signs
from medlego.merge.method import Share, numerical_rank


@dataclass(frozen=True, eq=False)
class Core:
    """ΔW_t = left · lefts[t] · diag(σ_t) · rights[t]ᵀ · rightᵀ, exactly.

    left (out, p) and right (in, q) have orthonormal columns and are float32; p and q are at most
    R = Σ r_t. What is small is float64: lefts[t] (p, r_t), rights[t] (q, r_t), and the strengths
    σ_t (r_t,), which do not hold the coefficient.
    """

    left: Tensor
    right: Tensor
    lefts: tuple[Tensor, ...]
    rights: tuple[Tensor, ...]
    strengths: tuple[Tensor, ...]
    coefficients: tuple[float, ...]

    @classmethod
    def of(cls, shares: Sequence[Share]) -> Core:
        """Reduce one target's deltas: two QRs, and nothing of size out × in.

        Cost: O((out + in) R²).
        Source: arXiv:2509.17786, with QR bases.
        """
        ranks = [delta.rank for delta, _ in shares]
        left, lefts = torch.linalg.qr(torch.cat([delta.U for delta, _ in shares], dim=1))
        right, rights = torch.linalg.qr(torch.cat([delta.Vh for delta, _ in shares]).mT)
        return cls(
            left,
            right,
            lefts.double().split(ranks, dim=1),
            rights.double().split(ranks, dim=1),
            tuple(delta.S.double() for delta, _ in shares),
            tuple(coefficient for _, coefficient in shares),
        )

    def matrices(self) -> Tensor:
        """Every ΔW_t without its coefficient, (K, p, q)."""
        parts = zip(self.lefts, self.strengths, self.rights, strict=True)
        return torch.stack([(left * s) @ right.mT for left, s, right in parts])

    def total(self) -> Tensor:
        """Σ c_t ΔW_t, (p, q)."""
        scaled = [c * s for c, s in zip(self.coefficients, self.strengths, strict=True)]
        product: Tensor = (torch.cat(self.lefts, dim=1) * torch.cat(scaled)) @ torch.cat(
            self.rights, dim=1
        ).mT
        return product

    def restore(self, matrix: Tensor) -> LowRank:
        """left · matrix · rightᵀ in canonical form; matrix (p, q)."""
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        return fix_signs(self.left @ U.float(), S.float(), Vh.float() @ self.right.mT)


def polar(columns: Tensor) -> Tensor:
    """The nearest matrix of orthonormal columns, P Qᵀ from the SVD P S Qᵀ.

    Where the columns are dependent, only what they span is kept: the rest is arbitrary.
    """
    P, S, Qh = torch.linalg.svd(columns, full_matrices=False)
    kept = numerical_rank(S)
    factor: Tensor = P[:, :kept] @ Qh[:kept]
    return factor
