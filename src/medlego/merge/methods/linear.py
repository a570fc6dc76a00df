"""Task arithmetic on factors: the exact weighted sum of all deltas."""

from __future__ import annotations

from collections.abc import Sequence

from medlego.bricks import weighted_sum
from medlego.merge.method import Merged, Method, TaskVector, by_target, cut


def merge_linear(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float], rank: int | None = None
) -> Merged:
    """Σ_t c_t ΔW_t of every target, exactly, in canonical SVD form.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless; all equal to one λ is task
            arithmetic, a sum of one is an average.
        rank: cut each merged delta to this rank, or keep all (None).

    Returns:
        Deltas of rank min(Σ r_t, out, in) or `rank`, and the Frobenius loss of the cut.

    Raises:
        MergeError: a sum too large for float32.

    Cost: O((out + in) R² + R³) a target with R = Σ r_t; out × in is never formed.
    Source: Ilharco et al. 2023, arXiv:2212.04089, equation 1; docs/maths.md, section 4.
    """
    whole = {
        name: weighted_sum(*zip(*shares, strict=True))
        for name, shares in by_target(task_vectors, coefficients).items()
    }
    return cut(whole, rank)


METHOD = Method(
    name="linear",
    summary="exact weighted sum of the deltas (task arithmetic)",
    source="arXiv:2212.04089",
    merge=merge_linear,
)
