"""Task arithmetic on factors: the exact weighted sum of all deltas."""

from __future__ import annotations

from collections.abc import Sequence

from medlego.errors import MergeError
from medlego.lowrank import LowRank, weighted_sum
from medlego.merge.method import Merged, Method, TaskVector


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
        MergeError: rank below 1, or a sum too large for float32.

    Cost: O((out + in) R² + R³) a target with R = Σ r_t; out × in is never formed.
    Source: Ilharco et al. 2023, arXiv:2212.04089, equation 1; maths.md section 3.
    """
    if rank is not None and rank < 1:
        raise MergeError(f"rank: expected at least 1, got {rank}")
    groups: dict[str, tuple[list[LowRank], list[float]]] = {}
    for vector, coefficient in zip(task_vectors, coefficients, strict=True):
        for name, delta in vector.items():
            deltas, factors = groups.setdefault(name, ([], []))
            deltas.append(delta)
            factors.append(coefficient)
    whole = {name: weighted_sum(*group) for name, group in groups.items()}
    if rank is None:
        return Merged(whole, dict.fromkeys(whole, 0.0))
    cut = {name: delta.truncate(rank) for name, delta in whole.items()}
    return Merged({n: d for n, (d, _) in cut.items()}, {n: loss for n, (_, loss) in cut.items()})


METHOD = Method(
    name="linear",
    summary="exact weighted sum of the deltas (task arithmetic)",
    source="arXiv:2212.04089",
    merge=merge_linear,
)
