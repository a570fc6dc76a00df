"""LoRA-LEGO: rank-one units of all bricks, clustered; one unit per cluster."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from medlego.bricks import LowRank, fix_signs, product_svd
from medlego.merge.method import Merged, Method, MethodSettings, Share, TaskVector, merge_targets

ROUNDS = 10
"""Starts of k-means; the best is kept."""

ORTHOGONAL = 1e-6
"""A cosine of at most this size is rounding, and its sign noise."""


class LoraLegoSettings(MethodSettings):
    """`clusters`: rank of each merged delta; the task vectors' largest rank by default."""

    clusters: Annotated[int, Field(ge=1)] | None = None


def merge_lora_lego(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    clusters: int | None = None,
    seed: int = 0,
) -> Merged:
    """Cluster the units [a; b] of all bricks by k-means; a cluster becomes one unit.

    A unit is one singular direction, a = √(|c| σ) v and b = ± √(|c| σ) u. It and its negative are
    the same, as b aᵀ = (−b)(−a)ᵀ; signs are chosen so that near units point the same way. A
    cluster's unit is its centroid, scaled to the mean norm of the members.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless; a sign goes to b, so that −c
            and a negated delta do not cluster as c and the delta do.
        rank: cut each merged delta to this rank, or keep all (None).
        clusters: how many, and so the rank of each merged delta; by default the largest numerical
            rank among the target's deltas.
        seed: of k-means.

    Returns:
        Deltas of rank at most `clusters`.

    Raises:
        MergeError: a result too large for float32.

    Cost: O(R k (out + in)) an iteration of k-means a target, R = Σ r_t.
    Source: Zhao et al. 2024, arXiv:2409.16167, section 3.
    Differs: units come from the canonical form, so that they do not depend on how a LoRA's two
        factors share their scale or mix their rows, and signs are aligned before k-means.
    """
    merge_one = partial(_cluster, clusters=clusters, seed=seed)
    return merge_targets(task_vectors, coefficients, rank, merge_one)


def _cluster(_name: str, shares: Sequence[Share], clusters: int | None, seed: int) -> LowRank:
    count = clusters or max(delta.rank for delta, _ in shares)
    units = _aligned(torch.cat([_units(*share) for share in shares]))
    labels = _k_means(units, count, seed)
    merged = []
    for label in sorted(set(labels.tolist())):
        members = units[labels == label]
        centroid = members.mean(dim=0)
        norm = torch.linalg.vector_norm(centroid)
        scale = torch.linalg.vector_norm(members, dim=1).mean() / norm if norm > 0 else norm
        merged.append(centroid * scale)
    both, columns = torch.stack(merged), shares[0][0].shape[1]
    right, left = both[:, :columns], both[:, columns:].mT
    return LowRank(*(factor.float() for factor in product_svd(left, right)))


def _units(delta: LowRank, coefficient: float) -> Tensor:
    """(rank, in + out), each row [a; b], in float64."""
    fixed = fix_signs(delta.U, delta.S, delta.Vh)
    root = (abs(coefficient) * delta.S.double()).sqrt()[:, None]
    sign = 1.0 if coefficient > 0 else -1.0
    return torch.cat([root * fixed.Vh.double(), sign * root * fixed.U.double().mT], dim=1)


def _aligned(units: Tensor) -> Tensor:
    """Each unit or its negative, sorted: along the maximum spanning tree of |cos|, none is obtuse.

    So every unit is aligned with its nearest, whatever the order and the signs they came with.
    """
    norms = torch.linalg.vector_norm(units, dim=1, keepdim=True)
    place = np.lexsort([units.sum(dim=1), norms[:, 0]])
    units, rows = units[place], (units / norms)[place]
    cosines = (rows @ rows.mT).numpy()
    sizes = np.abs(cosines)
    tree = minimum_spanning_tree(np.where(sizes > ORTHOGONAL, 2 - sizes, 0))
    signs = np.zeros(len(units))
    for root in range(len(units)):
        if not signs[root]:
            signs[root] = 1
            nodes, before = breadth_first_order(tree, root, directed=False)
            for node in nodes[1:]:
                signs[node] = signs[before[node]] * np.sign(cosines[node, before[node]])
    return units * torch.from_numpy(signs)[:, None]


def _k_means(units: Tensor, count: int, seed: int) -> Tensor:
    """A cluster's number for each row; rows that are equal to rounding share one."""
    grid = np.round(units.numpy() / float(units.abs().max()), 6)
    distinct, place = np.unique(grid, axis=0, return_inverse=True)
    if len(distinct) <= count:
        return torch.from_numpy(place.reshape(-1))
    from sklearn.cluster import KMeans

    fitted = KMeans(count, n_init=ROUNDS, random_state=seed).fit(units.numpy())
    return torch.from_numpy(fitted.labels_).long()


METHOD = Method(
    name="lora-lego",
    summary="rank-one units of all bricks, clustered by k-means",
    source="arXiv:2409.16167",
    merge=merge_lora_lego,
    settings=LoraLegoSettings,
    draws=True,
)
