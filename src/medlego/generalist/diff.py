"""What lies between two states of a generalist: bricks, coefficients, settings, deltas, size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medlego.generalist.generalist import Generalist
from medlego.generalist.undo import rebuild_state
from medlego.generalist.verify import distances, relative_distance
from medlego.merge import Ingredient, Recipe
from medlego.support import ShortRepr


@dataclass(frozen=True, repr=False)
class Difference(ShortRepr):
    """From state A to state B.

    `coefficients` has those that changed, (A, B) by digest; `settings` likewise what else of the
    recipe changed. `by_target` is ‖ΔW_B − ΔW_A‖ (Frobenius), `relative` all of it over ‖ΔW_A‖,
    `sizes` the numbers in the merged deltas.
    """

    added: tuple[Ingredient, ...]
    removed: tuple[Ingredient, ...]
    coefficients: Mapping[str, tuple[float, float]]
    settings: Mapping[str, tuple[object, object]]
    heads: tuple[str, ...]
    by_target: Mapping[str, float]
    relative: float
    sizes: tuple[int, int]


def difference(generalist: Generalist, a: int, b: int) -> Difference:
    """Compare the states that two entries of the lineage led to, both merged anew.

    Raises:
        GeneralistError: no such entry, or one whose bricks were withdrawn.
    """
    return between(rebuild_state(generalist, a), rebuild_state(generalist, b))


def between(a: Generalist, b: Generalist) -> Difference:
    """Compare two generalists of one base."""
    before, after = _by_digest(a.recipe), _by_digest(b.recipe)
    common = [digest for digest in before if digest in after]
    heads = {i.task for i in before.values()} | {i.task for i in after.values()}
    return Difference(
        added=tuple(item for digest, item in after.items() if digest not in before),
        removed=tuple(item for digest, item in before.items() if digest not in after),
        coefficients={
            digest: (before[digest].coefficient, after[digest].coefficient)
            for digest in common
            if before[digest].coefficient != after[digest].coefficient
        },
        settings=_settings(a.recipe, b.recipe),
        heads=tuple(sorted(name for name in heads if _head(a, name) != _head(b, name))),
        by_target=distances(a.deltas, b.deltas),
        relative=relative_distance(a.deltas, b.deltas),
        sizes=(_size(a), _size(b)),
    )


def _by_digest(recipe: Recipe) -> dict[str, Ingredient]:
    return {item.digest: item for item in recipe.bricks}


def _settings(a: Recipe, b: Recipe) -> dict[str, tuple[object, object]]:
    before, after = a.model_dump(exclude={"bricks"}), b.model_dump(exclude={"bricks"})
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def _head(generalist: Generalist, task: str) -> str | None:
    """Digest of a task's refitted head."""
    return generalist.heads[task].digest if task in generalist.heads else None


def _size(generalist: Generalist) -> int:
    return sum(delta.parameters for delta in generalist.deltas.values())
