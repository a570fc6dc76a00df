"""The only place where a base's modules change: folding deltas in, attaching trainable ones.

A base is never modified. Both functions return a copy that shares every tensor it does not
change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medlego.errors import BaseError, raise_all
from medlego.lowrank import LowRank
from medlego.targets import Target


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
    _check_fit(module, wanted)
    adapted = _shared_copy(module)
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


def attach(
    module: nn.Module, targets: Sequence[Target], factors: Mapping[str, tuple[nn.Parameter, ...]]
) -> nn.Module:
    """A copy of `module` that adds trainable factors to its linear maps.

    Args:
        module: a base's module; left as it is, its weights shared and frozen.
        targets: where the factors belong.
        factors: per target name (left, right), or (left, scale, right), with left (out, rank),
            scale (rank,), right (rank, in).

    Raises:
        BaseError: the module lacks a target.
    """
    _check_fit(module, targets)
    adapted = _shared_copy(module)
    for path in dict.fromkeys(target.module for target in targets):
        parent, _, leaf = path.rpartition(".")
        members = [t for t in targets if t.module == path]
        linear = adapted.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        wrapped = AdaptedLinear(linear, members, [factors[t.name] for t in members])
        setattr(adapted.get_submodule(parent), leaf, wrapped)
    return adapted


def on_device(module: nn.Module, device: str) -> nn.Module:
    """The module itself where it is on that device, else a copy there."""
    here = next(module.parameters()).device
    return module if here == torch.device(device) else copy.deepcopy(module).to(device)


def set_company(
    module: nn.Module, scale: float, strangers: Mapping[str, tuple[Tensor, Tensor]]
) -> None:
    """Scale the trainable deltas of an attached module, and put frozen ones beside them.

    Args:
        module: what `attach` made.
        scale: factor on every trainable delta, as a merge's coefficient.
        strangers: per target name left (out, n) and right (n, in), whose product is added;
            targets left out have none.
    """
    for part in module.modules():
        if isinstance(part, AdaptedLinear):
            part.set_company(scale, strangers)


class AdaptedLinear(nn.Module):
    """A frozen linear map plus low-rank updates of some of its output rows."""

    def __init__(
        self,
        linear: nn.Linear,
        targets: Sequence[Target],
        factors: Sequence[tuple[nn.Parameter, ...]],
    ) -> None:
        super().__init__()
        self.linear = linear
        self._targets = tuple(targets)
        self._factors = [nn.ParameterList(f) for f in factors]
        self.factors = nn.ModuleList(self._factors)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._scale = 1.0
        self._strangers: list[tuple[Tensor, Tensor]] = []

    def set_company(self, scale: float, strangers: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """See the function of this name."""
        self._scale = scale
        mine = [(t, strangers[t.name]) for t in self._targets if t.name in strangers]
        self._strangers = [(self._padded(left, t), right) for t, (left, right) in mine]

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) → (…, out): W x + b + Σ of scale · left diag(S) right x + strangers'."""
        lefts, rights = [], []
        for target, parts in zip(self._targets, self._factors, strict=True):
            left = parts[0] * parts[1] if len(parts) == 3 else parts[0]
            lefts.append(self._padded(left * self._scale, target))
            rights.append(parts[-1])
        for left, right in self._strangers:
            lefts.append(left)
            rights.append(right)
        inner = nn.functional.linear(inputs, torch.cat(rights))
        result: Tensor = self.linear(inputs) + nn.functional.linear(inner, torch.cat(lefts, dim=1))
        return result

    def _padded(self, left: Tensor, target: Target) -> Tensor:
        return nn.functional.pad(left, (0, 0, target.start, self.out_features - target.stop))


def _weight(module: nn.Module, path: str) -> Tensor:
    return module.get_parameter(f"{path}.weight")


def _shared_copy(module: nn.Module) -> nn.Module:
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _check_fit(module: nn.Module, targets: Sequence[Target]) -> None:
    problems = []
    for target in targets:
        try:
            linear = module.get_submodule(target.module)
        except AttributeError:
            linear = None
        if not isinstance(linear, nn.Linear):
            problems.append(f"{target.module}: expected a linear map, found none")
        elif target.stop > linear.out_features or target.in_features != linear.in_features:
            problems.append(
                f"{target.name}: expected rows up to {target.stop} of {target.in_features} inputs, "
                f"got {linear.out_features} × {linear.in_features}"
            )
    raise_all(BaseError, "base", problems)
