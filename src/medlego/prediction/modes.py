"""The parts of which a generalist works in each mode: one model, one a group, or one a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medlego.bricks import Adapter
from medlego.generalist import Generalist, assembled_like
from medlego.merge import Capability, as_mode
from medlego.prediction.routing import groups


@dataclass(frozen=True, eq=False)
class ModelPart:
    """What one pass through the base serves: deltas, and the tasks whose heads read them."""

    readers: tuple[Capability, ...]
    adapter: Adapter

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks."""
        return tuple(reader.task.name for reader in self.readers)


def working_readers(generalist: Generalist) -> dict[str, Capability]:
    """By task the head that answers in the recipe's mode, calibrated where it is."""
    return {r.task.name: r for part in parts(generalist) for r in part.readers}


def parts(generalist: Generalist, mode: str | None = None) -> tuple[ModelPart, ...]:
    """The parts of a generalist, together every task once.

    `merged` has one part: all bricks merged, read by heads refitted to that merge where there are
    any. `grouped` merges those of a group by the recipe's method, settings and rule. `routed` has
    a part for each task: its brick as it is, or the mean of its sites. A part of one task alone is
    the same in both. The recipe's mode is taken where none is named.

    Raises:
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
    """
    mode = generalist.recipe.mode if mode is None else as_mode(mode)
    if mode == "merged":
        return (ModelPart(generalist.readers, generalist.adapter),)
    if mode == "routed":
        return tuple(_alone(generalist, capability) for capability in generalist.capabilities)
    by_name = {capability.task.name: capability for capability in generalist.capabilities}
    return tuple(
        _alone(generalist, by_name[group[0]])
        if len(group) == 1
        else _merged(generalist, [by_name[name] for name in group])
        for group in groups(generalist.capabilities)
    )


def _alone(generalist: Generalist, capability: Capability) -> ModelPart:
    if len(capability.bricks) == 1:
        brick = capability.bricks[0]
        return ModelPart((capability,), Adapter(brick.targets, brick.deltas))
    return ModelPart((capability,), generalist.alone(capability.task.name).adapter)


def _merged(generalist: Generalist, capabilities: Sequence[Capability]) -> ModelPart:
    recipe = generalist.recipe
    members = {brick.digest for capability in capabilities for brick in capability.bricks}
    bricks = [brick for brick in generalist.bricks if brick.digest in members]
    coefficients = recipe.coefficients_argument([brick.digest for brick in bricks])
    slope = recipe.slope if recipe.slope_given else None
    merged = assembled_like(recipe, bricks, coefficients, slope=slope, mode="merged")
    readers = tuple(capability.uncalibrated() for capability in capabilities)
    return ModelPart(readers, merged.adapter)
