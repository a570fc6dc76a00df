"""Which bricks go together: one base, one input, one brick per task, sound deltas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medlego.base import BaseRef
from medlego.brick import Brick
from medlego.lowrank import canonical_problems
from medlego.recipe import Recipe
from medlego.refithead import RefitHead
from medlego.targets import Target


class Footing:
    """What bricks of one merge stand on, learnt as they come: a base, its input, target rows."""

    def __init__(self) -> None:
        self._base: BaseRef | None = None
        self._targets: dict[str, Target] = {}

    def conflicts(self, brick: Brick) -> list[str]:
        """What keeps a brick from those before it; the first sets the base."""
        a, b, subject = self._base or brick.base, brick.base, f"brick {brick.task.name!r}"
        self._base = a
        if a.fingerprint != b.fingerprint:
            return [
                f"{subject}: expected base {a.name} {a.fingerprint[:12]}…, got {b.name} "
                f"{b.fingerprint[:12]}…; retrain it on the others' base"
            ]
        problems = []
        if (a.image_size, a.mean, a.std) != (b.image_size, b.mean, b.std):
            problems.append(
                f"{subject}: expected {a.image_size} px, mean {a.mean}, std {a.std}, got "
                f"{b.image_size} px, {b.mean}, {b.std}; retrain it with the others' input"
            )
        if [t for t in brick.targets if self._targets.setdefault(t.name, t) != t]:
            problems.append(
                f"{subject}: expected the same rows for targets of one name; retrain it"
            )
        return problems


def conflicts(bricks: Sequence[Brick]) -> list[str]:
    """Everything that keeps bricks from being merged."""
    if not bricks:
        return ["bricks: expected at least one, got none"]
    footing = Footing()
    problems = [problem for brick in bricks for problem in footing.conflicts(brick)]
    for digest, count in Counter(brick.digest for brick in bricks).items():
        if count > 1:
            problems.append(f"brick {digest[:12]}…: expected once, got {count} times; name it once")
    by_name: dict[str, Brick] = {}
    for brick in bricks:
        name, other = brick.task.name, by_name.setdefault(brick.task.name, brick)
        if other.digest != brick.digest and other.task.labels != brick.task.labels:
            problems.append(
                f"task {name!r}: expected labels {list(other.task.labels)}, got "
                f"{list(brick.task.labels)} in another brick; rename one of the tasks"
            )
        elif other.digest != brick.digest:
            problems.append(
                f"task {name!r}: expected one brick, got several; rename one of the tasks"
            )
    return problems + [p for brick in bricks for p in _delta_problems(brick)]


def head_conflicts(recipe: Recipe, bricks: Sequence[Brick], refit: RefitHead) -> list[str]:
    """Everything that keeps a refitted head from a merged model."""
    subject = f"head of {refit.task.name!r}"
    tasks = {brick.task.name: brick for brick in bricks}
    if refit.task.name not in tasks:
        return [f"{subject}: expected a head of {', '.join(tasks)}; is this another generalist's?"]
    brick = tasks[refit.task.name]
    problems = []
    if refit.task != brick.task:
        problems.append(f"{subject}: expected the brick's task and labels, got others; refit it")
    if refit.model != recipe.model:
        problems.append(
            f"{subject}: expected merged model {recipe.model[:12]}…, got one fitted to "
            f"{refit.model[:12]}…; run a head round for this one"
        )
    if refit.head.weight.shape[1] != brick.base.features:
        problems.append(
            f"{subject}: expected {brick.base.features} features, got {refit.head.weight.shape[1]}"
        )
    return problems


def _delta_problems(brick: Brick) -> list[str]:
    return [
        f"brick {brick.task.name!r}: {name}.{problem}"
        for name, delta in brick.deltas.items()
        for problem in canonical_problems(delta)
    ]
