"""Edits of a generalist: bricks added, removed and updated, undone and redone.

An edit merges anew from the recipe and never subtracts, so a generalist without a brick is, bit for
bit, the one that never held it. Every edit appends to the lineage; values stay as they were.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from medlego.bricks import Brick, BrickSignature
from medlego.errors import GeneralistError, MergeError
from medlego.generalist.choices import default_slope
from medlego.generalist.generalist import Generalist
from medlego.generalist.lineage import (
    COEFFICIENTS,
    Action,
    Stamp,
    append_entry,
    stale_head,
    withdrawn,
)
from medlego.generalist.rebuilding import assembled_like
from medlego.merge import GIVEN, SEARCHED, Coefficients, Recipe


def add(
    generalist: Generalist,
    brick: Brick,
    *,
    coefficient: float | None = None,
    signature: BrickSignature | None = None,
    after_withdrawal: bool = False,
    allow_older: bool = False,
    stamp: Stamp = Stamp(),
) -> Generalist:
    """The generalist with one more brick: a new task, or one more site of a task it has.

    Args:
        generalist: stays as it is.
        brick: stands after the others.
        coefficient: where the recipe's were given: the new brick's, at which the others keep
            theirs. Left out where one number was given or searched for every task, the new task
            gets that number too.
        signature: the brick's, if it has one: it may state when it was made. Kept by `signed`.
        after_withdrawal: take a brick back that was withdrawn from this generalist.
        allow_older: take a brick that a newer one replaced, or that was signed earlier.
        stamp: when and by whom; nothing by default.

    Raises:
        MergeError: a brick that does not go with the others or is one of them, or a coefficient too
            few or too many.
        GeneralistError: a brick that was withdrawn, or is older than one of its task was here.
    """
    if any(one.digest == brick.digest for one in generalist.bricks):
        raise MergeError(
            f"brick {brick.digest[:12]}… of {brick.task.name!r}: expected one that the generalist "
            "lacks, got one that it has; there is nothing to add"
        )
    _check_withdrawn(generalist, brick, after_withdrawal)
    if not allow_older:
        present = any(one.task.name == brick.task.name for one in generalist.bricks)
        _check_age(generalist, brick, signature, () if present else _removed(generalist, brick))
    bricks = [*generalist.bricks, brick]
    numbers = _coefficients(generalist.recipe, bricks, coefficient, new=brick)
    return _edited(generalist, "add", bricks, numbers, stamp, added=(brick.digest,))


def remove(
    generalist: Generalist, task: str, *, site: str | None = None, stamp: Stamp = Stamp()
) -> Generalist:
    """The generalist that never held a task, or one of its sites; `undo` brings it back.

    Args:
        generalist: stays as it is.
        task: whose bricks go.
        site: the start of one brick's digest, to remove that one only.
        stamp: when and by whom; nothing by default.

    Raises:
        GeneralistError: no such task or site, or no brick would be left.
    """
    digests = tuple(brick.digest for brick in _bricks_of(generalist, task, site))
    return without(generalist, task, digests, stamp)


def update(
    generalist: Generalist,
    brick: Brick,
    *,
    site: str | None = None,
    coefficient: float | None = None,
    signature: BrickSignature | None = None,
    after_withdrawal: bool = False,
    allow_older: bool = False,
    stamp: Stamp = Stamp(),
) -> Generalist:
    """The generalist with a newer brick in the place of one of the same task.

    Args:
        generalist: stays as it is.
        brick: the newer one.
        site: the start of the older one's digest, where the task has several sites.
        coefficient: the newer one's, where each brick was given its own; else the older one's.
        signature: the brick's, if it has one: it may state when it was made. Kept by `signed`.
        after_withdrawal: take a brick back that was withdrawn from this generalist.
        allow_older: take a brick that a newer one replaced, or that was signed earlier.
        stamp: when and by whom; nothing by default.

    Raises:
        GeneralistError: no such task or site, several sites and no choice, or a brick that was
            withdrawn or is older.
        MergeError: a brick that does not go with the others, or a coefficient too many.
    """
    _check_withdrawn(generalist, brick, after_withdrawal)
    older = _bricks_of(generalist, brick.task.name, site)
    if len(older) > 1:
        known = ", ".join(b.digest[:12] for b in older)
        raise GeneralistError(
            f"update: expected one brick of {brick.task.name!r}, got {len(older)} sites; "
            f"choose one of {known}"
        )
    (old,) = older
    if not allow_older:
        _check_age(generalist, brick, signature, [old.digest])
    bricks = [brick if b is old else b for b in generalist.bricks]
    numbers = _coefficients(generalist.recipe, bricks, coefficient, new=brick, old=old)
    changes = {"added": (brick.digest,), "removed": (old.digest,)}
    return _edited(generalist, "update", bricks, numbers, stamp, **changes)


def without(
    before: Generalist,
    task: str,
    digests: tuple[str, ...],
    stamp: Stamp,
    *,
    for_good: bool = False,
) -> Generalist:
    """The generalist without some bricks of a task.

    Raises:
        GeneralistError: no brick would be left.
    """
    bricks = [brick for brick in before.bricks if brick.digest not in digests]
    if not bricks:
        raise GeneralistError(
            f"remove: expected a brick besides those of {task!r}, got none; "
            "delete the whole generalist instead"
        )
    numbers = _coefficients(before.recipe, bricks)
    return _edited(before, "remove", bricks, numbers, stamp, removed=digests, withdrawn=for_good)


def one_of(digests: Sequence[str], start: str) -> str:
    """The digest that starts so.

    Raises:
        GeneralistError: none, or several.
    """
    matches = [digest for digest in digests if digest.startswith(start)]
    if len(matches) != 1:
        raise GeneralistError(
            f"site: expected the start of one digest of {', '.join(d[:12] for d in digests)}, "
            f"got {start!r}, which fits {len(matches)}"
        )
    return matches[0]


def _check_withdrawn(generalist: Generalist, brick: Brick, again: bool) -> None:
    entry = withdrawn(generalist.lineage).get(brick.digest)
    if entry is not None and not again:
        raise GeneralistError(
            f"brick {brick.digest[:12]}… of {brick.task.name!r}: expected one that was not "
            f"withdrawn, got one that entry {entry} withdrew; add it with --after-withdrawal if "
            "its owner agrees again"
        )


def _check_age(
    generalist: Generalist,
    brick: Brick,
    signature: BrickSignature | None,
    replaced: Collection[str],
) -> None:
    """Refuse a brick older than those whose place it takes, by the lineage or by signatures."""
    for number, entry in enumerate(generalist.lineage):
        if entry.action == "update" and brick.digest in entry.removed:
            raise _older(brick, f"one that entry {number} replaced by a newer one")
    made = None if signature is None else signature.made
    known = generalist.past.signatures
    for digest in replaced:
        other = known[digest].made if digest in known else None
        if made is not None and other is not None and made < other:
            got = f"one signed at {made.isoformat()}, before {digest[:12]}…"
            raise _older(brick, f"{got} at {other.isoformat()}")


def _older(brick: Brick, got: str) -> GeneralistError:
    return GeneralistError(
        f"brick {brick.digest[:12]}… of {brick.task.name!r}: expected none older than what its "
        f"task had here, got {got}; allow it (--allow-older) if that is meant"
    )


def _removed(generalist: Generalist, brick: Brick) -> set[str]:
    """Bricks that the task had before it was removed."""
    recipes = generalist.past.recipes.values()
    return {i.digest for r in recipes for i in r.bricks if i.task == brick.task.name}


def _bricks_of(generalist: Generalist, task: str, site: str | None) -> tuple[Brick, ...]:
    """The bricks of a task, or the one whose digest starts so."""
    bricks = generalist.capability(task).bricks
    if site is None:
        return bricks
    digest = one_of([brick.digest for brick in bricks], site)
    return tuple(brick for brick in bricks if brick.digest == digest)


def _coefficients(
    recipe: Recipe,
    bricks: Sequence[Brick],
    coefficient: float | None = None,
    *,
    new: Brick | None = None,
    old: Brick | None = None,
) -> Coefficients:
    """The argument of `assemble`: the recipe's rule, its one number, or one per brick."""
    if recipe.coefficients not in (GIVEN, SEARCHED) and coefficient is not None:
        raise MergeError(
            f"coefficient: expected none where the rule {recipe.coefficients!r} gives them, "
            f"got {coefficient}; leave it out"
        )
    shared = recipe.coefficients_argument(())
    if coefficient is None and not isinstance(shared, list):
        return shared
    numbers = {item.digest: item.coefficient for item in recipe.bricks}
    if new is not None:
        inherited = None if old is None else numbers[old.digest]
        number = numbers.get(new.digest, inherited) if coefficient is None else coefficient
        if number is None:
            raise MergeError(
                f"coefficient: expected a number for brick {new.task.name!r}, since every brick "
                "was given its own, got none; add one"
            )
        numbers[new.digest] = number
    return [numbers[brick.digest] for brick in bricks]


def _edited(
    before: Generalist,
    action: Action,
    bricks: Sequence[Brick],
    coefficients: Coefficients,
    stamp: Stamp,
    **changes: Any,
) -> Generalist:
    """Other bricks under the recipe's settings; the lineage gets an entry with the changes."""
    old = before.recipe
    searched = old.coefficients == SEARCHED
    slope = old.slope if old.slope_given else None
    if slope is None and searched:
        slope = default_slope(old.method, bricks)
    fresh = assembled_like(old, bricks, coefficients, slope=slope)
    origin: dict[str, object] = {"slope_given": old.slope_given}
    if searched and fresh.recipe.number is not None:
        origin["coefficients"] = SEARCHED
    elif searched:
        origin["slope_given"] = True
    recipe = fresh.recipe.model_copy(update=origin)
    if recipe.model == old.model:
        recipe, heads, stale = old, before.heads, before.lineage[-1].stale
    else:
        marks = {*before.lineage[-1].stale, *map(stale_head, before.heads)}
        left = [stale_head(task.name) for task in fresh.tasks if stale_head(task.name) in marks]
        heads, stale = {}, tuple([COEFFICIENTS] * searched + left)
    lineage = append_entry(before.lineage, action, recipe, stamp, stale=stale, **changes)
    past = before.past.plus(recipe, bricks, ())
    return replace(fresh, recipe=recipe, lineage=lineage, heads=heads, past=past)
