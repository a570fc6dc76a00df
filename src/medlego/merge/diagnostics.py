"""How bricks lie to each other before they are merged: overlap, sign conflicts, spectra, cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor

from medlego.bricks import Brick, LowRank, all_targets, brick_names
from medlego.errors import MergeError, raise_all
from medlego.merge.compatibility import conflicts
from medlego.merge.methods import METHODS
from medlego.merge.sites import site_weights, task_vectors
from medlego.support import ShortRepr, one_thread

COLLISION = 0.06
"""Cosine of two task vectors from which on they count as colliding; between what was measured for
unrelated tasks and for two trainings of one task (docs/decisions/010-diagnostics.md)."""


@dataclass(frozen=True, repr=False)
class BrickPair(ShortRepr):
    """Two bricks, target by target; only targets that both have.

    `cosine` is ⟨ΔW_a, ΔW_b⟩ / (‖ΔW_a‖ ‖ΔW_b‖), -1 to 1; `input_overlap` and `output_overlap` are
    ‖V_aᵀ V_b‖² and ‖U_aᵀ U_b‖² over the smaller rank, 0 to 1; `sign_conflict` is the share of
    |ΔW_a| |ΔW_b| at entries whose signs differ, 0 to 1, a half where nothing is shared.
    """

    first: str
    second: str
    cosine: dict[str, float]
    input_overlap: dict[str, float]
    output_overlap: dict[str, float]
    sign_conflict: dict[str, float]
    total_cosine: float
    """Of the two task vectors as a whole."""
    same_task: bool
    """Whether the two are sites of one task, of which a merge takes the mean."""

    @property
    def collides(self) -> bool:
        """Whether merging the two counts shared directions twice."""
        return not self.same_task and abs(self.total_cosine) >= COLLISION


@dataclass(frozen=True, repr=False)
class Diagnosis(ShortRepr):
    """What can be known of a merge from its bricks alone."""

    tasks: tuple[str, ...]
    """One name per brick, with its digest where several share a task."""
    targets: tuple[str, ...]
    pairs: tuple[BrickPair, ...]
    spectra: dict[str, dict[str, tuple[float, ...]]]
    """Per name and target the singular values."""
    cut_losses: dict[int, float]
    """Per rank the share of the sum's Frobenius norm that a cut to it would lose, at
    `auto` coefficients."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each pair that collides."""
        return tuple(
            f"{pair.first} and {pair.second}: task vectors have a cosine of "
            f"{pair.total_cosine:.2f}; a sum counts what they share twice, consider --svc"
            for pair in self.pairs
            if pair.collides
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tasks": list(self.tasks),
            "targets": list(self.targets),
            "pairs": [vars(pair) | {"collides": pair.collides} for pair in self.pairs],
            "spectra": {t: {n: list(s) for n, s in by.items()} for t, by in self.spectra.items()},
            "cut_losses": {str(rank): loss for rank, loss in self.cut_losses.items()},
            "warnings": list(self.warnings),
        }


def diagnose(bricks: Sequence[Brick]) -> Diagnosis:
    """Compare bricks pair by pair and target by target, without data.

    Args:
        bricks: two or more that could be merged.

    Raises:
        MergeError: bricks that do not go together, all problems in one message.
    """
    problems = conflicts(bricks)
    if len(bricks) == 1:
        problems.append("bricks: expected at least two to compare, got one")
    raise_all(MergeError, "diagnose", problems)
    names = brick_names(bricks)
    with one_thread():
        pairs = tuple(_pair(*two) for two in combinations(zip(bricks, names, strict=True), 2))
        cuts = _cut_losses(bricks)
    return Diagnosis(
        tasks=names,
        targets=tuple(target.name for target in all_targets(bricks)),
        pairs=pairs,
        spectra={
            name: {n: tuple(d.S.tolist()) for n, d in brick.deltas.items()}
            for brick, name in zip(bricks, names, strict=True)
        },
        cut_losses=cuts,
    )


def cosine(first: Brick, second: Brick) -> float:
    """⟨ΔW_a, ΔW_b⟩ / (‖ΔW_a‖ ‖ΔW_b‖) of whole task vectors; targets that differ share nothing."""
    return _total(first, second, _products(first, second))


def _pair(one: tuple[Brick, str], other: tuple[Brick, str]) -> BrickPair:
    (first, first_name), (second, second_name) = one, other
    shared = [name for name in first.deltas if name in second.deltas]
    both = {name: (first.deltas[name], second.deltas[name]) for name in shared}
    products = _products(first, second)
    norms = {name: a.norm() * b.norm() for name, (a, b) in both.items()}
    return BrickPair(
        first=first_name,
        second=second_name,
        cosine={name: _ratio(products[name], norms[name]) for name in shared},
        input_overlap={n: _overlap(a.Vh.mT, b.Vh.mT) for n, (a, b) in both.items()},
        output_overlap={n: _overlap(a.U, b.U) for n, (a, b) in both.items()},
        sign_conflict={n: _sign_conflict(a, b) for n, (a, b) in both.items()},
        total_cosine=_total(first, second, products),
        same_task=first.task.name == second.task.name,
    )


def _products(first: Brick, second: Brick) -> dict[str, float]:
    """⟨ΔW_a, ΔW_b⟩ of each target that both have, with the same rows."""
    shared = [target.name for target in first.targets if target in second.targets]
    return {name: _inner(first.deltas[name], second.deltas[name]) for name in shared}


def _total(first: Brick, second: Brick, products: dict[str, float]) -> float:
    return _ratio(sum(products.values()), _norm(first) * _norm(second))


def _inner(a: LowRank, b: LowRank) -> float:
    """⟨ΔW_a, ΔW_b⟩ on factors: Σ (σ_a U_aᵀ U_b σ_b) ∘ (V_aᵀ V_b)."""
    left = (a.U * a.S).double().mT @ (b.U * b.S).double()
    return float((left * (a.Vh.double() @ b.Vh.double().mT)).sum())


def _overlap(a: Tensor, b: Tensor) -> float:
    """‖aᵀ b‖² over the smaller number of columns."""
    return float((a.double().mT @ b.double()).square().sum()) / min(a.shape[1], b.shape[1])


def _sign_conflict(a: LowRank, b: LowRank) -> float:
    product = a.dense() * b.dense()
    total = float(product.abs().sum())
    return 0.5 * (1 - float(product.sum()) / total) if total else 0.5


def _norm(brick: Brick) -> float:
    return float(sum(delta.norm() ** 2 for delta in brick.deltas.values()) ** 0.5)


def _ratio(value: float, norm: float) -> float:
    return value / norm if norm else 0.0


def _cut_losses(bricks: Sequence[Brick]) -> dict[int, float]:
    summed = METHODS["linear"](*task_vectors(bricks, site_weights(bricks))).deltas
    squares = [delta.S.double().square() for delta in summed.values()]
    total = float(sum(s.sum() for s in squares))
    longest = max(len(s) for s in squares)
    lost = {rank: float(sum(s[rank:].sum() for s in squares)) for rank in range(1, longest)}
    return {rank: (loss / total) ** 0.5 if total else 0.0 for rank, loss in lost.items()}
