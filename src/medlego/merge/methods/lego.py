"""Our reading of Med-LEGO: the weighted sum, cut back to the size of one brick."""

from __future__ import annotations

from collections.abc import Sequence

from medlego.merge.method import Merged, Method, TaskVector
from medlego.merge.methods.linear import merge_linear


def merge_lego(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float], rank: int | None = None
) -> Merged:
    """Blocks U_c = [U_1 … U_K], σ_c = [c_t σ_t], V_c, cut to a rank by their exact SVD.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless.
        rank: rank of each merged delta; the largest rank among the task vectors by default, so
            that the generalist's deltas are no larger than one brick's (of a task with several
            sites: no larger than its sites' together).

    Returns:
        Deltas of at most `rank`, and the Frobenius loss of the cut.

    Raises:
        MergeError: rank below 1.

    Cost: as `linear`.
    Source: Med-LEGO, arXiv:2503.01164. No code is public and the paper's text leaves the cut
        open; docs/decisions/003-lego.md says what is our reading.
    """
    if rank is None:
        rank = max(delta.rank for vector in task_vectors for delta in vector.values())
    return merge_linear(task_vectors, coefficients, rank)


METHOD = Method(
    name="lego",
    summary="weighted sum cut to one brick's rank (our reading of Med-LEGO)",
    source="arXiv:2503.01164",
    merge=merge_lego,
)
