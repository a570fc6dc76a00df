"""A long walk of random edits: undone, it ends where it began; removed is as never added."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from factories import make_base, make_brick
from medlego.bricks import Brick
from medlego.errors import GeneralistError
from medlego.generalist import Generalist, add, assemble, redo, remove, state, undo, update
from medlego.generalist.lineage import chain_problems
from medlego.generalist.merged_file import merged_bytes

STEPS = 200
BASE = make_base(depth=1)
BRICKS = [
    make_brick(f"task-{number % 8}", seed=number, base=BASE, kind="binary") for number in range(12)
]
"""Twelve bricks of eight tasks: four have an older and a newer version, or two sites."""


def same(actual: Generalist, expected: Generalist) -> None:
    assert actual.recipe == expected.recipe
    assert merged_bytes(actual.deltas) == merged_bytes(expected.deltas)


def never(bricks: Sequence[Brick], like: Generalist) -> Generalist:
    """Assembled from these bricks at once."""
    recipe = like.recipe
    numbers = recipe.number if recipe.number is not None else recipe.coefficients
    return assemble(bricks, recipe.method, coefficients=numbers)


def random_edit(before: Generalist, dice: random.Random) -> Generalist:
    digests = {brick.digest for brick in before.bricks}
    spare = [brick for brick in BRICKS if brick.digest not in digests]
    kinds = ["undo", "redo"]
    kinds += ["add"] * 4 if spare else []
    kinds += ["remove"] * 4 if len(before.tasks) > 1 else []
    known = {task.name for task in before.tasks}
    newer = [brick for brick in spare if brick.task.name in known]
    kinds += ["update"] * 2 if newer else []
    match dice.choice(kinds):
        case "add":
            return add(before, dice.choice(spare), allow_older=True)
        case "remove":
            brick = dice.choice(before.bricks)
            others = [b for b in before.bricks if b.task.name != brick.task.name]
            after = remove(before, brick.task.name)
            same(after, never(others, before))
            return after
        case "update":
            brick = dice.choice(newer)
            old = next(b for b in before.bricks if b.task.name == brick.task.name)
            return update(before, brick, site=old.digest, allow_older=True)
        case "undo":
            return before if state(before.lineage) == 0 else undo(before)
        case _:
            try:
                return redo(before)
            except GeneralistError:
                return before


@pytest.mark.parametrize(
    ("method", "coefficients"), [("linear", "auto"), ("linear", 0.4), ("core-ties", "auto")]
)
def test_two_hundred_edits_undone_end_with_the_first_digest(method, coefficients):
    dice = random.Random(7)
    first = assemble(BRICKS[:3], method, coefficients=coefficients)
    now = first
    for _ in range(STEPS):
        now = random_edit(now, dice)
        same(now, never(now.bricks, first))
    assert len({entry.action for entry in now.lineage}) == 6
    while state(now.lineage) != 0:
        now = undo(now)
    same(now, first)
    assert chain_problems(now.lineage) == []
    assert torch.equal(now.deltas["blocks.0.attn.q"].S, first.deltas["blocks.0.attn.q"].S)
