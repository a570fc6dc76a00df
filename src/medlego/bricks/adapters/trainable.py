"""Trainable deltas attached to a base's linear maps, alone or in the company of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks.adapters.surgery import wrapped


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

    def wrap(linear: nn.Linear, members: list[Target]) -> nn.Module:
        return AdaptedLinear(linear, members, [factors[target.name] for target in members])

    return wrapped(module, targets, wrap)


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
