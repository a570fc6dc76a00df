"""RegMean: on each brick's inputs the merged delta acts as near as it can to that brick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medlego.bricks import Gram, LowRank, product_svd
from medlego.errors import MergeError
from medlego.merge.method import (
    NEGLIGIBLE,
    Grams,
    Merged,
    Method,
    MethodSettings,
    TaskVector,
    by_target,
    cut,
)

SHRINK = 0.1


class RegmeanSettings(MethodSettings):
    """`shrink`: share of each Gram matrix that is spread evenly over all directions."""

    shrink: Annotated[float, Field(ge=0, le=1)] = SHRINK


def merge_regmean(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    grams: Sequence[Grams],
    shrink: float = SHRINK,
) -> Merged:
    """(Σ c_t ΔW_t G_t) (Σ c_t G_t)⁻¹ of every target: least squares over the bricks' inputs.

    With G_t the Gram matrix of the inputs x that brick t saw in training, the result minimises
    Σ_t c_t E‖(ΔW − ΔW_t) x‖².

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless; shares, since a factor common to
            all changes nothing. None is zero.
        rank: cut each merged delta to this rank, or keep all (None).
        grams: one mapping per brick. A brick without the target counts as a delta of zero, if it
            has a Gram there, and otherwise not at all.
        shrink: 0 <= shrink <= 1. At 0 the Grams count as they are; at 1 the result is an average
            weighted by c_t times the Gram's trace.

    Returns:
        Deltas of rank min(Σ r_t, out, in) or `rank`, in the column span of the U_t.

    Raises:
        MergeError: a brick's delta comes without a Gram, Σ c_t G_t is not positive definite, as
            negative coefficients can make it, or a result is too large for float32.

    Cost: O((in + P) P² + in P R + (out + in) R²) a target with P = min(in, Σ N_t) directions of
        all Grams and R = Σ r_t, in float64; in × in is never formed unless P reaches in.
    Source: Jin et al. 2022, arXiv:2212.09849, the closed form, with G_t = XᵀX.
    Differs: G_t is a mean over tokens, not a sum, so that large data sets weigh no more than their
        coefficient, and is known by its leading directions. The paper multiplies entries off the
        diagonal by an α below one; here (1 − shrink) G + shrink · tr(G) / in · I, which does not
        depend on the basis and keeps the form that is inverted on its leading directions.
    """
    largest = max(map(abs, coefficients))
    whole = {}
    for name, shares in by_target(task_vectors, coefficients).items():
        parts = [
            _Part(vector.get(name), own_grams.get(name), c / largest)
            for vector, own_grams, c in zip(task_vectors, grams, coefficients, strict=True)
        ]
        _check(name, parts, shares[0][0].shape[1])
        moved = any(delta.norm() for delta, _ in shares)
        whole[name] = _solve(name, parts, shrink) if moved else LowRank.zero(shares[0][0].shape)
    return cut(whole, rank)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one brick brings to a target."""

    delta: LowRank | None
    gram: Gram | None
    coefficient: float


@dataclass(frozen=True, eq=False)
class _Moment:
    """V diag(excess) Vᵀ + rest · I in float64: V (in, N) with orthonormal columns, excess (N,)."""

    V: Tensor
    excess: Tensor
    rest: float

    @classmethod
    def of(cls, gram: Gram, shrink: float) -> _Moment:
        """A Gram shrunk towards the multiple of the identity that has its trace."""
        values, rest = gram.values.double(), float(gram.rest)
        spread = (float(values.sum()) + rest * (gram.width - gram.directions)) / gram.width
        excess = (1 - shrink) * (values - rest)
        return cls(gram.vectors.double(), excess, (1 - shrink) * rest + shrink * spread)

    def after(self, rows: Tensor) -> Tensor:
        """rows @ G; rows (r, in)."""
        return (rows @ self.V * self.excess) @ self.V.mT + self.rest * rows


def _check(name: str, parts: Sequence[_Part], width: int) -> None:
    for number, part in enumerate(parts, start=1):
        if part.gram is None and part.delta is not None:
            raise MergeError(
                f"{name}: expected a Gram of each brick that adapts it, got none of brick "
                f"{number}; retrain it with --gram 8"
            )
        if part.gram is not None and part.gram.width != width:
            raise MergeError(
                f"{name}: expected Grams of {width} inputs, got {part.gram.width} of brick "
                f"{number}; retrain it on the others' base"
            )


def _solve(name: str, parts: Sequence[_Part], shrink: float) -> LowRank:
    lefts, rights, counted = [], [], []
    for part in parts:
        if part.gram is None:
            continue
        moment = _Moment.of(part.gram, shrink)
        counted.append((moment, part.coefficient))
        if part.delta is not None:
            lefts.append(part.delta.U.double() * (part.coefficient * part.delta.S.double()))
            rights.append(moment.after(part.delta.Vh.double()))
    right = _times_inverse(name, torch.cat(rights), counted)
    factors = product_svd(torch.cat(lefts, dim=1), right)
    merged = LowRank(*(factor.float() for factor in factors))
    if not torch.isfinite(merged.S).all():
        raise MergeError(f"{name}: expected a merge that float32 holds, got a larger one")
    return merged


def _times_inverse(name: str, rows: Tensor, moments: Sequence[tuple[_Moment, float]]) -> Tensor:
    """rows @ (Σ c_t G_t)⁻¹, through an orthonormal basis Q of all leading directions.

    In Q the sum is the P × P matrix ρ I + R diag(c excess) Rᵀ with [V_1 … V_K] = Q R, outside of
    it ρ I, with ρ = Σ c_t rest_t.
    """
    Q, R = torch.linalg.qr(torch.cat([moment.V for moment, _ in moments], dim=1))
    rest = sum(c * moment.rest for moment, c in moments)
    excess = torch.cat([c * moment.excess for moment, c in moments])
    values, E = torch.linalg.eigh((R * excess) @ R.mT + rest * torch.eye(len(R), dtype=R.dtype))
    fills = len(R) == len(Q)
    least = float(values[0]) if fills else min(float(values[0]), rest)
    if not least > NEGLIGIBLE * max(float(values[-1]), rest):
        raise MergeError(
            f"{name}: expected a positive definite Σ c G, got {least:.3g} as its least eigenvalue; "
            "give coefficients that are not negative, or a larger shrink"
        )
    inside = rows @ Q
    solved: Tensor = (inside @ E / values) @ E.mT @ Q.mT
    return solved if fills else solved + (rows - inside @ Q.mT) / rest


METHOD = Method(
    name="regmean",
    summary="acts on each brick's training inputs as near as it can to that brick (needs Grams)",
    source="arXiv:2212.09849",
    merge=merge_regmean,
    settings=RegmeanSettings,
    needs_grams=True,
    slope=0.0,
)
