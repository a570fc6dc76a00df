"""WUDI: the merged delta acts on each brick's input directions as that brick does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medlego.bricks import LowRank
from medlego.merge.core import Core
from medlego.merge.method import Merged, Method, Share, TaskVector, merge_targets, not_zero

CONDITION = 1e-5
"""Singular values of the stacked directions below this share of the largest are not inverted."""


def merge_wudi(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float], rank: int | None = None
) -> Merged:
    """Minimise Σ_t ‖(Δ − c_t ΔW_t) ΔW_tᵀ‖² / ‖ΔW_t‖² in closed form.

    With ΔW_t = U_t diag(σ_t) V_tᵀ the sum is ‖Δ A − B‖² for A = [V_t σ_t / ‖σ_t‖] and
    B = [c_t U_t σ_t² / ‖σ_t‖]. Its least-norm solution is Δ = B A⁺, and where all V_t together
    are independent it fits exactly: Δ V_t = c_t U_t diag(σ_t).

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless; they scale the deltas to be
            reached.
        rank: cut each merged delta to this rank, or keep all (None).

    Returns:
        Deltas of rank at most min(Σ r_t, out, in).

    Raises:
        MergeError: a result too large for float32.

    Cost: O((out + in) R² + R³) a target, R = Σ r_t.
    Source: Cheng et al. 2025, arXiv:2503.08099, equation 10.
    Differs: solved exactly, where the paper runs Adam from the sum. On inputs in the span of the
        V_t the two have one limit. Of others the objective says nothing: here Δ leaves them alone,
        while Adam, whose steps weigh entry by entry, strays from the span and does not. Where
        directions of two bricks nearly coincide the exact solution is large, and some hundred
        steps would not have reached it.
    """
    return merge_targets(task_vectors, coefficients, rank, _solve, not_zero)


def _solve(_name: str, shares: Sequence[Share]) -> LowRank:
    core = Core.of(shares)
    weights = torch.cat([s / s.norm() for s in core.split(core.strengths)])
    A, B = core.rights * weights, core.lefts * (core.scaled * weights)
    return core.restore(B @ torch.linalg.pinv(A, rtol=CONDITION))


METHOD = Method(
    name="wudi",
    summary="acts on each brick's input directions as that brick does (closed form)",
    source="arXiv:2503.08099",
    merge=merge_wudi,
)
