"""Deltas folded into weights: no slower than the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks.adapters.surgery import check_fit, shared_copy
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
    wanted = tuple(targets)
    check_fit(module, wanted)
    adapted = shared_copy(module)
    weights: dict[str, Tensor] = {}
    for target in wanted:
        if target.module not in weights:
            weights[target.module] = _weight(adapted, target.module).detach().clone()
        delta = deltas[target.name].dense()
        weights[target.module][target.start : target.stop] += delta.to(weights[target.module])
    for path, weight in weights.items():
        linear: Any = adapted.get_submodule(path)
        linear.weight = nn.Parameter(weight, requires_grad=False)
    return adapted


def _weight(module: nn.Module, path: str) -> Tensor:
    return module.get_parameter(f"{path}.weight")
