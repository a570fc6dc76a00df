"""Task singular vectors: all bricks' singular vectors made orthonormal together."""

from __future__ import annotations

from collections.abc import Sequence

from medlego.bricks import LowRank
from medlego.merge.core import Core, polar
from medlego.merge.method import Merged, Method, Share, TaskVector, merge_targets


def merge_tsv(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float], rank: int | None = None
) -> Merged:
    """P(U_c) diag(c σ) P(V_c)ᵀ, with P the nearest matrix of orthonormal columns.

    Args:
        task_vectors: one per brick; each gives as many directions as its rank.
        coefficients: one finite number per brick, dimensionless.
        rank: cut each merged delta to this rank, or keep all (None).

    Returns:
        Deltas of rank at most min(Σ r_t, out, in).

    Raises:
        MergeError: a result too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Gargiulo et al. 2024, arXiv:2412.00081 (TSV-M), equations 4 and 5.
    Differs: k_t = r_t. The official code cuts every task to min(out, in) / K directions, which
        fills a low-rank delta up with arbitrary null vectors.
    """
    return merge_targets(task_vectors, coefficients, rank, _merge_one)


def _merge_one(_name: str, shares: Sequence[Share]) -> LowRank:
    core = Core.of(shares)
    return core.restore_product(polar(core.lefts), core.scaled, polar(core.rights))


METHOD = Method(
    name="tsv",
    summary="singular vectors of all bricks made orthonormal together",
    source="arXiv:2412.00081",
    merge=merge_tsv,
)
