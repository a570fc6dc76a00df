"""Low-rank deltas in canonical SVD form, and the algebra that never forms out × in.

A delta is U diag(S) Vh with orthonormal columns of U, orthonormal rows of Vh and S sorted
from large to small, none below zero. In each column of U the entry of largest magnitude is
positive, so that equal deltas have equal factors to rounding where the S are distinct.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from medlego.bricks.content import TensorGroup
from medlego.errors import BrickError, MergeError
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class LowRank(ShortRepr):
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
            BrickError: shapes do not chain, or a factor or the product is not finite in
                float32.
        """
        if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0] or B.shape[1] == 0:
            raise BrickError(
                f"factors: expected (out, rank) and (rank, in), got {tuple(B.shape)} "
                f"and {tuple(A.shape)}"
            )
        left = B.double() * scale
        if not (torch.isfinite(left.float()).all() and torch.isfinite(A.float()).all()):
            raise BrickError("factors: expected finite numbers, got NaN or infinity")
        U, S, Vh = (factor.float() for factor in product_svd(left, A.double()))
        if not torch.isfinite(S).all():
            raise BrickError("factors: expected a product that float32 holds, got a larger one")
        return cls(U, S, Vh)

    @classmethod
    def from_dense(cls, matrix: Tensor) -> LowRank:
        """The canonical form of a matrix (out, in), of rank min(out, in), computed in float64."""
        factors = torch.linalg.svd(matrix.double(), full_matrices=False)
        return fix_signs(*(factor.float() for factor in factors))

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> LowRank:
        """The delta (out, in) that changes nothing, of rank 1."""
        out, columns = shape
        return cls(torch.eye(out, 1), torch.zeros(1), torch.eye(1, columns))

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

    def tensors(self) -> dict[str, Tensor]:
        """The factors by name."""
        return {"U": self.U, "S": self.S, "Vh": self.Vh}

    def dense(self) -> Tensor:
        """The delta itself, (out, in)."""
        return (self.U * self.S) @ self.Vh

    def norm(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.S, dtype=torch.float64))

    def truncate(self, rank: int) -> tuple[LowRank, float]:
        """Keep the `rank` largest singular values.

        Returns:
            The cut delta and the Frobenius norm of what was cut off, √(Σ_{i>rank} σ_i²).

        Raises:
            MergeError: rank below 1.
        """
        if rank < 1:
            raise MergeError(f"rank: expected at least 1, got {rank}")
        lost = float(torch.linalg.vector_norm(self.S[rank:], dtype=torch.float64))
        cut = LowRank(
            self.U[:, :rank].contiguous(), self.S[:rank].clone(), self.Vh[:rank].contiguous()
        )
        return cut, lost


ORTHONORMAL_TOLERANCE = 1e-4
"""Largest entry of |UᵀU − I| and |Vh Vhᵀ − I| that still counts as canonical."""


def delta_group(shape: tuple[int, int], rank: int) -> TensorGroup:
    """A delta's factors in a file, of a shape (out, in) and a rank."""
    out, columns = shape
    shapes = {"U": (out, rank), "S": (rank,), "Vh": (rank, columns)}
    return TensorGroup(shapes, LowRank, canonical_problems)


def canonical_problems(delta: LowRank) -> list[str]:
    """What keeps a delta from being in canonical form, one `<factor>: <rule>` each."""
    U, S, Vh = (tuple(factor.shape) for factor in (delta.U, delta.S, delta.Vh))
    if not (len(U) == len(Vh) == 2 and S == U[1:] == Vh[:1] and S[0] > 0):
        return [f"shapes: expected (out, rank), (rank,) and (rank, in), got {U}, {S} and {Vh}"]
    types = {factor.dtype for factor in (delta.U, delta.S, delta.Vh)}
    if types != {torch.float32}:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
        return [f"types: expected float32, got {names}"]
    values: list[float] = delta.S.tolist()
    errors = {"U": off_orthonormal(delta.U), "Vh": off_orthonormal(delta.Vh.T)}
    if problems := not_finite(errors | {"S": sum(values)}):
        return problems
    if values[-1] < 0 or any(after > before for before, after in pairwise(values)):
        problems.append("S: expected values from large to small, none below 0")
    return problems + not_orthonormal(errors)


def not_finite(numbers: Mapping[str, float]) -> list[str]:
    """A problem for each number that is NaN or infinite."""
    return [
        f"{name}: expected finite numbers, got NaN or infinity"
        for name, number in numbers.items()
        if not math.isfinite(number)
    ]


def not_orthonormal(errors: Mapping[str, float]) -> list[str]:
    """A problem for each result of `off_orthonormal` above `ORTHONORMAL_TOLERANCE`."""
    return [
        f"{name}: expected orthonormal to {ORTHONORMAL_TOLERANCE:g}, off by {error:.2g}"
        for name, error in errors.items()
        if error > ORTHONORMAL_TOLERANCE
    ]


def off_orthonormal(columns: Tensor) -> float:
    """Largest entry of |CᵀC − I|; not finite where, and only where, an entry of C is not."""
    wide = columns.double()
    gram = wide.T @ wide
    gram.diagonal().sub_(1)
    return float(gram.abs().max())


def product_svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of `left @ right` through QR of both factors.

    The rank × rank core is decomposed in float64: it costs little there, and rounding of
    float32 factors falls to a third.

    Args:
        left: (out, rank).
        right: (rank, in), of the same dtype.

    Returns:
        U (out, k), S (k,), Vh (k, in) with k = min(rank, out, in), signs fixed, in that dtype.

    Cost: O((out + in) rank² + rank³); where rank reaches out or in, a dense SVD.
    Source: docs/maths.md, sections 3 and 4.
    """
    if left.shape[1] >= min(left.shape[0], right.shape[1]):
        core = left.double() @ right.double()
        U, S, Vh = (f.to(left) for f in torch.linalg.svd(core, full_matrices=False))
    else:
        Q_left, R_left = torch.linalg.qr(left)
        Q_right, R_right = torch.linalg.qr(right.mT)
        core = R_left.double() @ R_right.double().mT
        U, S, Vh = (f.to(left) for f in torch.linalg.svd(core, full_matrices=False))
        U, Vh = Q_left @ U, Vh @ Q_right.mT
    fixed = fix_signs(U, S, Vh)
    return fixed.U, fixed.S, fixed.Vh


def fix_signs(U: Tensor, S: Tensor, Vh: Tensor) -> LowRank:
    """Turn singular pairs so that each column of U has a positive entry of largest magnitude."""
    sign = (U.amax(dim=0, keepdim=True) + U.amin(dim=0, keepdim=True)).sign()
    if not sign.all():  # a tie: the first of the largest decides
        largest = U.abs().argmax(dim=0, keepdim=True)
        sign = torch.where(torch.gather(U, 0, largest) < 0, -1.0, 1.0).to(U.dtype)
    return LowRank(U * sign, S, Vh * sign.mT)


def scaled_values(deltas: Sequence[LowRank], coefficients: Sequence[float]) -> Tensor:
    """c_t σ_t of every direction of all deltas, (Σ r_t,), float64."""
    each = [c for d, c in zip(deltas, coefficients, strict=True) for _ in range(d.rank)]
    return torch.cat([d.S for d in deltas]) * torch.tensor(each, dtype=torch.float64)


def beside(columns: Sequence[Tensor]) -> Tensor:
    """Matrices of equal height side by side, laid out column by column as LAPACK wants it."""
    return torch.cat([part.mT for part in columns]).mT


def weighted_sum(deltas: Sequence[LowRank], coefficients: Sequence[float]) -> LowRank:
    """The exact Σ_t c_t ΔW_t, canonical, of rank min(Σ r_t, out, in).

    One sum at a time: in a batch LAPACK's last bits depend on how each matrix is aligned, and
    so on what stands beside it; a batch is no faster.

    Args:
        deltas: one or more of equal shape.
        coefficients: one finite number per delta, dimensionless.

    Raises:
        MergeError: the sum is too large for float32.

    Source: docs/maths.md, section 4: U_c = [U_1 … U_K], σ_c = [c_1 σ_1 … c_K σ_K].
    """
    scaled = scaled_values(deltas, coefficients)
    if not float(scaled.abs().sum()) < torch.finfo(torch.float32).max:
        raise MergeError(f"coefficients: expected a sum that float32 holds, got {coefficients}")
    left = beside([d.U for d in deltas]) * scaled.float()
    return LowRank(*product_svd(left, torch.cat([d.Vh for d in deltas])))
