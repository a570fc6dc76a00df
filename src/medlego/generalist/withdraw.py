"""Withdrawal: a partner takes a brick back, and no undo brings it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medlego.bricks import REFIT_WITH, TRAINED_WITH, Brick
from medlego.errors import GeneralistError
from medlego.generalist.edit import one_of, without
from medlego.generalist.generalist import Generalist
from medlego.generalist.lineage import Stamp


def withdraw(
    generalist: Generalist, task: str, *, site: str | None = None, stamp: Stamp = Stamp()
) -> Generalist:
    """Remove a task's bricks for good: no undo brings them back, and `commit` deletes their files.

    Earlier versions go too, also where the task itself was removed before, and so do heads
    refitted to it. `prepared_beside` names the bricks that were prepared beside them.

    Args:
        generalist: stays as it is.
        task: whose bricks go.
        site: the start of one brick's digest, to withdraw that one and its versions only.
        stamp: when and by whom; nothing by default.

    Raises:
        GeneralistError: no such task or site, or no brick would be left.
    """
    digests = _versions(generalist, task, site)
    after = without(generalist, task, digests, stamp, for_good=True)
    return replace(after, past=after.past.without(digests, {task}))


def prepared_beside(bricks: Sequence[Brick], gone: Sequence[Brick]) -> tuple[str, ...]:
    """One sentence per brick that was trained or refitted beside a removed one's deltas."""
    names = {name: brick for brick in gone for name in (brick.digest, brick.deltas_digest)}
    notes = []
    for brick in bricks:
        met = [
            *_listed(brick, TRAINED_WITH),
            *_listed(brick, REFIT_WITH),
            *([start] if isinstance(start := brick.settings.get("start"), str) else []),
        ]
        if gone_tasks := sorted({names[digest].task.name for digest in met if digest in names}):
            notes.append(
                f"{brick.task.name} ({brick.digest[:12]}) was prepared beside the removed "
                f"{', '.join(gone_tasks)}; retrain or refit it where that matters"
            )
    return tuple(notes)


def _versions(generalist: Generalist, task: str, site: str | None) -> tuple[str, ...]:
    """Digests of a task's bricks in all states, or of one brick and what it updated or became."""
    recipes = generalist.past.recipes.values()
    known = dict.fromkeys(i.digest for r in recipes for i in r.bricks if i.task == task)
    digests = [digest for digest in known if digest in generalist.past.bricks]
    if not digests:
        names = ", ".join(t.name for t in generalist.tasks)
        raise GeneralistError(f"task: expected one of {names}, or an earlier one, got {task!r}")
    if site is None:
        return tuple(digests)
    family = {one_of(digests, site)}
    updates = [entry for entry in generalist.lineage if entry.action == "update"]
    for _ in updates:
        for entry in updates:
            if family & {*entry.added, *entry.removed}:
                family |= {*entry.added, *entry.removed}
    return tuple(digest for digest in digests if digest in family)


def _listed(brick: Brick, setting: str) -> list[str]:
    value = brick.settings.get(setting)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
