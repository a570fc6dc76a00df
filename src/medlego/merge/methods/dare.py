"""DARE: drop entries at random and rescale the rest, then sum or TIES; in full or core space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medlego.merge.method import Merged, Method, MethodSettings, TaskVector
from medlego.merge.methods.ties import average_of_agreeing
from medlego.merge.spaces import Space, core_space, full_space, merge_in, without_rounding

DROP = 0.5


class DareSettings(MethodSettings):
    """`drop`: probability that an entry is dropped."""

    drop: Annotated[float, Field(ge=0, lt=1)] = DROP


def merge_dare(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None = None,
    *,
    drop: float = DROP,
    seed: int = 0,
    elect: bool = False,
    space: Space = full_space,
) -> Merged:
    """Drop each entry with probability `drop`, divide the rest by 1 − drop, then merge.

    Args:
        task_vectors: one per brick.
        coefficients: one finite number per brick, dimensionless.
        rank: cut each merged delta to this rank, or keep all (None).
        drop: probability, 0 <= drop < 1.
        seed: of the draws, which also depend on the target's name and on the brick's place
            in the order, and on nothing else.
        elect: average what agrees with the elected sign, as TIES does after trimming (dare-ties),
            instead of the weighted sum (dare).
        space: `full_space` (dare, dare-ties) or `core_space` (core-dare-ties).

    Returns:
        Merged deltas: of rank min(out, in) in full space, at most Σ r_t in core space.

    Raises:
        MergeError: a result too large for float32.

    Cost: in full space an SVD of out × in a target; in core space as core-ties.
    Source: Yu et al. 2023, arXiv:2311.03099, equation 1.
    Differs: the paper drops 0.9 and more of full fine-tuning's deltas; half is PEFT's usual
        choice for adapters. Entries below 1e-5 of a matrix's largest are zero, in `dare` too:
        rounding of float32 factors, whose sign would have a vote in an election.
    """

    def rule(matrices: Tensor, weights: Tensor, place: str) -> Tensor:
        mask = draw_mask(matrices, drop, f"{seed}:{place}") / (1 - drop)
        rescaled = without_rounding(matrices) * mask
        if elect:
            return average_of_agreeing(rescaled, weights)
        return (weights[:, None, None] * rescaled).sum(dim=0)

    return merge_in(space, rule, task_vectors, coefficients, rank)


def draw_mask(matrices: Tensor, drop: float, place: str) -> Tensor:
    """Ones where an entry of (K, p, q) stays, zeros with probability `drop`; decided by `place`."""
    digest = hashlib.sha256(place.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return (torch.rand(matrices.shape, generator=generator) >= drop).to(matrices)


DARE = Method(
    name="dare",
    summary="drop entries at random, rescale the rest, sum; on the full matrices",
    source="arXiv:2311.03099",
    merge=merge_dare,
    settings=DareSettings,
    draws=True,
    order_matters=True,
)
DARE_TIES = Method(
    name="dare-ties",
    summary="dare, then average what agrees with the elected sign; on the full matrices",
    source="arXiv:2311.03099",
    merge=partial(merge_dare, elect=True),
    settings=DareSettings,
    draws=True,
    order_matters=True,
    auto="norm",
    slope=0.0,
)
CORE_DARE_TIES = Method(
    name="core-dare-ties",
    summary="dare-ties on the small matrices of core space",
    source="arXiv:2509.17786",
    merge=partial(merge_dare, elect=True, space=core_space),
    settings=DareSettings,
    draws=True,
    order_matters=True,
    auto="norm",
    slope=0.0,
)
