"""Deltas folded into weights: no slower than the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from medlego.base import Target
from medlego.bricks.adapters.surgery import wrapped
from medlego.bricks.lowrank import LowRank


def fold(module: nn.Module, targets: Iterable[Target], deltas: Mapping[str, LowRank]) -> nn.Module:
    """A copy of `module` whose weights hold the deltas, as fast as the base itself.

    Args:
        module: a base's module; left as it is.
        targets: where the deltas belong.
        deltas: one per target name.

    Raises:
        BaseError: the module lacks a target, or a shape does not fit.
    """

    def add(linear: nn.Linear, members: list[Target]) -> nn.Module:
        weight = linear.weight.detach().clone()
        for target in members:
            weight[target.start : target.stop] += deltas[target.name].dense().to(weight)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        return linear

    return wrapped(module, tuple(targets), add)
