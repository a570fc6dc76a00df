"""Singular value calibration: a step after any merge, against directions counted more than once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medlego.bricks import LowRank, beside, scaled_values
from medlego.merge.method import NEGLIGIBLE, Merged, Share, TaskVector, by_target

FLOOR = 0.1


def calibrate_singular_values(
    merged: Merged,
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    *,
    floor: float = FLOOR,
) -> Merged:
    """Shrink the directions on which bricks agree, which a sum counts several times.

    With Δ = Σ_j σ_j u_j v_jᵀ the merge and Δ_i = c_i ΔW_i what brick i brought to it,
    s_ij = ⟨u_jᵀ Δ, u_jᵀ Δ_i⟩ / ‖u_jᵀ Δ_i‖² says how much larger the merge is than brick i along
    u_j, and σ_j becomes σ_j · K_j / Σ_i max(floor, s_ij), where i runs over the K_j bricks that
    say anything along u_j.

    Args:
        merged: what a method made of the bricks.
        task_vectors: one per brick, as they were merged.
        coefficients: one finite number per brick, as they were merged.
        floor: least s_ij that counts, above zero; it bounds the growth of σ_j by 1 / floor.

    Returns:
        The same directions with other strengths; the losses as they were.

    Cost: O((out + in) R²) a target, R = Σ r_t.
    Source: singular value calibration as in fusion_bench.
    Differs: a brick that says nothing along u_j, less than a millionth of its norm, is left out,
        so that a brick without the target, or with coefficient zero, changes nothing.
    """
    shares = by_target(task_vectors, coefficients)
    deltas = {n: _calibrate(delta, shares[n], floor) for n, delta in merged.deltas.items()}
    return Merged(deltas, merged.losses)


def _calibrate(delta: LowRank, shares: Sequence[Share], floor: float) -> LowRank:
    bricks, coefficients = zip(*shares, strict=True)
    scaled, S = scaled_values(bricks, coefficients), delta.S.double()
    rows = delta.U.double().mT @ beside([brick.U for brick in bricks]).double() * scaled
    columns = delta.Vh.double() @ torch.cat([brick.Vh for brick in bricks]).double().mT
    totals, speaking = torch.zeros_like(S), torch.zeros_like(S)
    ranks = [brick.rank for brick in bricks]
    parts = (t.split_with_sizes(ranks, dim=-1) for t in (rows, columns, scaled))
    for row, column, strengths in zip(*parts, strict=True):
        norm = torch.linalg.vector_norm(row, dim=1)
        speaks = norm > NEGLIGIBLE * torch.linalg.vector_norm(strengths)
        product = S * (column * row).sum(dim=1)
        ratio = product / norm.square().where(speaks, torch.ones_like(norm))
        totals += ratio.clamp(min=floor) * speaks
        speaking += speaks
    values = S.where(speaking == 0, S * speaking / totals.clamp(min=floor)).float()
    order = values.argsort(descending=True, stable=True)
    return LowRank(delta.U[:, order].clone(), values[order], delta.Vh[order].clone())
