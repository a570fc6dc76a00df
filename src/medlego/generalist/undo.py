"""Undo and redo: back and forth between the states of a lineage, each merged anew."""

from __future__ import annotations

from dataclasses import replace

from medlego.errors import GeneralistError
from medlego.generalist.generalist import Generalist
from medlego.generalist.lineage import Action, Stamp, append_entry, redone, undone, withdrawn
from medlego.generalist.rebuilding import rebuilt


def undo(generalist: Generalist, to: int | None = None, *, stamp: Stamp = Stamp()) -> Generalist:
    """The generalist as it was before its last edit, or after the entry of a number.

    Raises:
        GeneralistError: nothing to undo, no such entry, or a brick of it was withdrawn.
    """
    return _moved(generalist, "undo", undone(generalist.lineage, to), stamp)


def redo(generalist: Generalist, to: int | None = None, *, stamp: Stamp = Stamp()) -> Generalist:
    """The generalist as it was after the edit that was last undone here, or after an entry.

    Raises:
        GeneralistError: nothing to redo, no such entry, or a brick of it was withdrawn.
    """
    return _moved(generalist, "redo", redone(generalist.lineage, to), stamp)


def rebuild_state(generalist: Generalist, entry: int) -> Generalist:
    """The state that an entry led to, merged anew; its lineage has no past.

    Raises:
        GeneralistError: something of it was withdrawn or is missing.
    """
    last = len(generalist.lineage) - 1
    if not 0 <= entry <= last:
        raise GeneralistError(f"entry: expected 0 to {last}, got {entry}; see edit log")
    digest, past = generalist.lineage[entry].recipe, generalist.past
    if digest not in past.recipes:
        raise GeneralistError(f"entry {entry}: expected recipe {digest[:12]}…, found none of it")
    recipe = past.recipes[digest]
    gone = withdrawn(generalist.lineage)
    missing = [item for item in recipe.bricks if item.digest not in past.bricks]
    for item in missing:
        reason = (
            f"it was withdrawn in entry {gone[item.digest]}, for good"
            if item.digest in gone
            else "put its file back into bricks/"
        )
        raise GeneralistError(
            f"entry {entry}: expected brick {item.digest[:12]}… of {item.task!r}, found none; "
            f"{reason}"
        )
    heads = dict.fromkeys(item.head for item in recipe.bricks if item.head)
    if lost := [head for head in heads if head not in past.heads]:
        raise GeneralistError(
            f"entry {entry}: expected refitted head {lost[0][:12]}…, found none; "
            "it went with a withdrawn brick of its task, or put its file back into heads/"
        )
    bricks = [past.bricks[item.digest] for item in recipe.bricks]
    return rebuilt(recipe, bricks, [past.heads[head] for head in heads])


def _moved(before: Generalist, action: Action, to: int, stamp: Stamp) -> Generalist:
    after = rebuild_state(before, to)
    stale = before.lineage[to].stale
    lineage = append_entry(before.lineage, action, after.recipe, stamp, to=to, stale=stale)
    past = before.past.plus(after.recipe, after.bricks, list(after.heads.values()))
    return replace(after, lineage=lineage, past=past)
