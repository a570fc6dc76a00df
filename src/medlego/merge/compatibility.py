"""Which bricks go together: one base, one input, sound deltas, sites of a task that agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medlego.base import BaseRef, Target, act_alike
from medlego.bricks import Brick, RefitHead, brick_names, canonical_problems
from medlego.data import match_labels
from medlego.merge.recipe import Recipe
from medlego.merge.sites import Capability, by_task


class Footing:
    """What bricks of one merge stand on, learnt as they come: a base, its input, target rows."""

    def __init__(self) -> None:
        self._base: BaseRef | None = None
        self._targets: dict[str, Target] = {}

    def conflicts(self, brick: Brick, name: str) -> list[str]:
        """What keeps a brick, called `name`, from those before it; the first sets the base."""
        a, b, subject = self._base or brick.base, brick.base, f"brick {name!r}"
        self._base = a
        if a.fingerprint != b.fingerprint:
            return [
                f"{subject}: expected base {a.name} {a.fingerprint[:12]}…, got {b.name} "
                f"{b.fingerprint[:12]}…; retrain it on the others' base"
            ]
        if not act_alike(a.name, b.name):
            return [
                f"{subject}: expected base {a.name}, got {b.name}, which acts otherwise on the "
                "same tensors; retrain it on the others' base"
            ]
        problems = []
        if (a.image_size, a.mean, a.std) != (b.image_size, b.mean, b.std):
            problems.append(
                f"{subject}: expected {a.image_size} px, mean {a.mean}, std {a.std}, got "
                f"{b.image_size} px, {b.mean}, {b.std}; retrain it with the others' input"
            )
        elif a.features != b.features:
            problems.append(
                f"{subject}: expected {a.features} features, got {b.features}; retrain it"
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
    footing, names = Footing(), brick_names(bricks)
    problems = []
    for brick, name in zip(bricks, names, strict=True):
        problems += footing.conflicts(brick, name)
    for digest, count in Counter(brick.digest for brick in bricks).items():
        if count > 1:
            problems.append(f"brick {digest[:12]}…: expected once, got {count} times; name it once")
    for places in by_task(bricks).values():
        sites = {bricks[i].digest: (bricks[i].task, names[i]) for i in places}
        problems += match_labels(*zip(*sites.values(), strict=True)).problems
    return problems + [
        f"brick {name!r}: {target}.{problem}"
        for brick, name in zip(bricks, names, strict=True)
        for target, delta in brick.deltas.items()
        for problem in canonical_problems(delta)
    ]


def head_conflicts(
    recipe: Recipe, capabilities: Sequence[Capability], refit: RefitHead
) -> list[str]:
    """Everything that keeps a refitted head from a merged model."""
    subject = f"head of {refit.task.name!r}"
    tasks = {capability.task.name: capability for capability in capabilities}
    if (capability := tasks.get(refit.task.name)) is None:
        return [f"{subject}: expected a head of {', '.join(tasks)}; is this another generalist's?"]
    problems = []
    if refit.task != capability.task:
        problems.append(
            f"{subject}: expected the generalist's task and labels, got others; refit it"
        )
    if refit.model != recipe.model:
        problems.append(
            f"{subject}: expected merged model {recipe.model[:12]}…, got one fitted to "
            f"{refit.model[:12]}…; run a head round for this one"
        )
    features = capability.head.weight.shape[1]
    if refit.head.weight.shape[1] != features:
        problems.append(
            f"{subject}: expected {features} features, got {refit.head.weight.shape[1]}"
        )
    return problems
