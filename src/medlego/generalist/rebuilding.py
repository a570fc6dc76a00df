"""Generalists by a recipe: the same again, other bricks in its way, and a brick alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medlego.bricks import Brick, RefitHead
from medlego.generalist.generalist import Generalist, assemble, with_first_entry
from medlego.generalist.lineage import Stamp
from medlego.merge import Coefficients, Mode, Recipe, find_method


def rebuilt(recipe: Recipe, bricks: Sequence[Brick], heads: Sequence[RefitHead] = ()) -> Generalist:
    """What a recipe gives, merged anew from its bricks; the lineage has no past.

    Args:
        recipe: as `assemble` made it.
        bricks: those that it names, in its order.
        heads: the refitted ones that it names.

    Raises:
        MergeError: as `assemble`.
    """
    numbers = [item.coefficient for item in recipe.bricks]
    fresh = assembled_like(recipe, bricks, numbers, slope=recipe.slope)
    read = {head.task.name: head for head in heads}
    return replace(with_first_entry(fresh, recipe, Stamp()), heads=read)


def assembled_like(
    recipe: Recipe,
    bricks: Sequence[Brick],
    coefficients: Coefficients,
    *,
    slope: float | None,
    mode: Mode | None = None,
) -> Generalist:
    """Other bricks by a recipe's method and settings, in its mode or another.

    Raises:
        MergeError: as `assemble`.
    """
    find_method(recipe.method, recipe.provider)
    return assemble(
        bricks,
        recipe.method,
        coefficients=coefficients,
        sites=recipe.sites,
        rank=recipe.rank,
        settings=recipe.settings,
        svc=recipe.svc,
        slope=slope,
        seed=recipe.seed,
        mode=mode or recipe.mode,
    )


def specialist(brick: Brick) -> Generalist:
    """A brick alone, whole: the generalist of one task."""
    return assemble([brick], "linear", coefficients=1.0, mode="merged")
