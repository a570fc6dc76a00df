"""What lies in a directory and no state of the generalist needs."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from medlego.errors import MedLegoError
from medlego.generalist.document import (
    BRICKS,
    DOCUMENT,
    HEADS,
    RECIPES,
    SIGNATURES,
    load_document,
    merged_file,
)
from medlego.generalist.lineage import Lineage, withdrawn
from medlego.generalist.past_states import PastStates
from medlego.merge import Ingredient
from medlego.support import TEMPORARY, leftovers


def sweep(path: Path, lineage: Lineage, past: PastStates) -> list[str]:
    """Delete what `strays` lists; hold the directory by `editing`.

    Returns:
        Names of what went, relative to the directory.
    """
    stray = strays(path, lineage, past)
    for file in stray:
        if file.is_dir():  # scratch beside; should it stay, `strays` names it again
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return [os.path.relpath(file, path) for file in stray]


def strays(path: Path, lineage: Lineage, past: PastStates) -> list[Path]:
    """What no state needs: withdrawn bricks and heads, merges of before, files of killed writers.

    Where several wrote the directory at once when it was new, one of them put it in its place: what
    the others began beside it is stray too.
    """
    merged = merged_file(path, load_document(path).merged_sha256)
    heads = {HEADS.file(path, digest) for digest in _needed_heads(lineage, past)}
    gone = [folder.file(path, d) for d in withdrawn(lineage) for folder in (BRICKS, SIGNATURES)]
    place = path.absolute()
    length = len(f".{place.name}.????????{TEMPORARY}")  # a neighbour's name may begin so
    beside = [s for s in leftovers(place.parent, place.name) if len(s.name) == length]
    stray = {
        *(file for file in merged.parent.glob("*") if file != merged),
        *(file for file in (path / HEADS.name).glob("*") if file not in heads),
        *(file for file in gone if file.exists()),
        *(file for kind in (BRICKS, RECIPES, SIGNATURES) for file in leftovers(path / kind.name)),
        *leftovers(path, DOCUMENT),
        *(scratch for scratch in beside if _is_own(scratch, path)),
    }
    return sorted(stray)


def _needed_heads(lineage: Lineage, past: PastStates) -> Collection[str]:
    """Those of tasks without a withdrawn brick; all, where a recipe cannot be read."""
    if not (gone := withdrawn(lineage)):
        return past.heads
    try:
        states = [recipe.bricks for recipe in past.recipes.values()]
    except MedLegoError:
        return past.heads
    return past.heads.keys() & {head for bricks in states for head in heads_without(bricks, gone)}


def heads_without(bricks: Sequence[Ingredient], gone: Collection[str]) -> set[str]:
    """Refitted heads of a state whose tasks have no withdrawn brick in it."""
    lost = {item.task for item in bricks if item.digest in gone}
    return {item.head for item in bricks if item.head is not None and item.task not in lost}


def _is_own(scratch: Path, path: Path) -> bool:
    """Whether it is a folder that the directory's owner made."""
    status = scratch.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == path.stat().st_uid
