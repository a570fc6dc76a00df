"""Low-rank deltas in canonical SVD form, and the algebra that never forms out × in.

A delta is U diag(S) Vh with orthonormal columns of U, orthonormal rows of Vh and S sorted
from large to small, none below zero. In each column of U the entry of largest magnitude is
positive, so that equal deltas have equal factors to rounding where the S are distinct.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medlego.errors import BrickError, MergeError


@dataclass(frozen=True, eq=False)
class LowRank:
    """One delta: U (out, rank), S (rank,), Vh (rank, in), float32 in canonical form."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    @classmethod
    def from_factors(cls, B: Tensor, A: Tensor, scale: float = 1.0) -> LowRank:
        """The canonical form of `scale · B A`, computed in float64.

        Args:
            B: (out, rank).
            A: (rank, in).
            scale: folded in once, for example alpha / rank of a LoRA.

        Raises:
            BrickError: shapes do not chain, or a factor is not finite.
        """
        if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0] or B.shape[1] == 0:
            raise BrickError(
                f"factors: expected (out, rank) and (rank, in), got {tuple(B.shape)} "
                f"and {tuple(A.shape)}"
            )
        if not (torch.isfinite(B).all() and torch.isfinite(A).all() and math.isfinite(scale)):
            raise BrickError("factors: expected finite numbers, got NaN or infinity")
        U, S, Vh = product_svd(B.double()[None] * scale, A.double()[None])
        return cls(U[0].float(), S[0].float(), Vh[0].float())

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta, (out, in)."""
        return self.U.shape[0], self.Vh.shape[1]

    @property
    def rank(self) -> int:
        """Number of singular values held, zero ones included."""
        return self.S.shape[0]

    @property
    def parameters(self) -> int:
        """Numbers held: (out + in + 1) · rank."""
        return self.U.numel() + self.S.numel() + self.Vh.numel()

    def dense(self) -> Tensor:
        """The delta itself, (out, in)."""
        return (self.U * self.S) @ self.Vh

    def norm(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.S))

    def truncate(self, rank: int) -> tuple[LowRank, float]:
        """Keep the `rank` largest singular values.

        Returns:
            The cut delta and the Frobenius norm of what was cut off, √(Σ_{i>rank} σ_i²).

        Raises:
            MergeError: rank below 1.
        """
        if rank < 1:
            raise MergeError(f"rank: expected at least 1, got {rank}")
        lost = float(torch.linalg.vector_norm(self.S[rank:]))
        cut = LowRank(
            self.U[:, :rank].contiguous(), self.S[:rank].clone(), self.Vh[:rank].contiguous()
        )
        return cut, lost


ORTHONORMAL_TOLERANCE = 1e-4
"""Largest entry of |UᵀU − I| and |Vh Vhᵀ − I| that still counts as canonical."""


def canonical_problems(delta: LowRank) -> list[str]:
    """What keeps a delta from being in canonical form, one `<factor>: <rule>` each."""
    problems = []
    parts = {"U": delta.U, "S": delta.S, "Vh": delta.Vh}
    for name, tensor in parts.items():
        if not torch.isfinite(tensor).all():
            problems.append(f"{name}: expected finite numbers, got NaN or infinity")
    if problems:
        return problems
    if (delta.S < 0).any() or (delta.S[1:] > delta.S[:-1]).any():
        problems.append("S: expected values from large to small, none below 0")
    for name, columns in (("U", delta.U.double()), ("Vh", delta.Vh.double().T)):
        error = float((columns.T @ columns - torch.eye(columns.shape[1])).abs().max())
        if error > ORTHONORMAL_TOLERANCE:
            problems.append(
                f"{name}: expected orthonormal to {ORTHONORMAL_TOLERANCE:g}, off by {error:.2g}"
            )
    return problems


def product_svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of each product `left @ right` through QR of both factors.

    Args:
        left: (batch, out, rank).
        right: (batch, rank, in).

    Returns:
        U (batch, out, k), S (batch, k), Vh (batch, k, in) with k = min(rank, out, in), signs
        fixed.

    Cost: O((out + in) rank² + rank³) a matrix; where rank reaches out or in, a dense SVD.
    Source: maths.md sections 2 and 3.
    """
    smallest = min(left.shape[1], right.shape[2])
    if left.shape[2] >= smallest:
        U, S, Vh = torch.linalg.svd(left @ right, full_matrices=False)
    else:
        Q_left, R_left = torch.linalg.qr(left)
        Q_right, R_right = torch.linalg.qr(right.mT)
        U, S, Vh = torch.linalg.svd(R_left @ R_right.mT, full_matrices=False)
        U, Vh = Q_left @ U, Vh @ Q_right.mT
    largest = U.abs().argmax(dim=1, keepdim=True)
    sign = torch.where(torch.gather(U, 1, largest) < 0, -1.0, 1.0).to(U.dtype)
    return U * sign, S, Vh * sign.mT


def weighted_sums(
    groups: Sequence[Sequence[LowRank]], coefficients: Sequence[Sequence[float]]
) -> list[LowRank]:
    """The exact Σ_t c_t ΔW_t of every group, all layers of one shape in one batch.

    Args:
        groups: one sequence of deltas of equal shape per layer, none empty.
        coefficients: the same lengths as `groups`.

    Returns:
        One canonical delta per group, of rank min(Σ rank, out, in).

    Source: maths.md section 3, U_c = [U_1 … U_K], σ_c = [c_1 σ_1 … c_K σ_K].
    """
    batches: dict[tuple[int, int, int], list[int]] = {}
    for number, deltas in enumerate(groups):
        total = sum(delta.rank for delta in deltas)
        batches.setdefault((*deltas[0].shape, total), []).append(number)
    merged: dict[int, LowRank] = {}
    for members in batches.values():
        left = torch.stack([_scaled_left(groups[i], coefficients[i]) for i in members])
        right = torch.stack([torch.cat([d.Vh for d in groups[i]]) for i in members])
        U, S, Vh = product_svd(left, right)
        for position, number in enumerate(members):
            merged[number] = LowRank(U[position], S[position], Vh[position])
    return [merged[number] for number in range(len(groups))]


def _scaled_left(deltas: Sequence[LowRank], coefficients: Sequence[float]) -> Tensor:
    return torch.cat([d.U * (d.S * c) for d, c in zip(deltas, coefficients, strict=True)], dim=1)
