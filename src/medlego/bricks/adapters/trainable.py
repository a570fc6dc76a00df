"""Trainable deltas attached to a base's linear maps, alone or beside other bricks' deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
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


def set_other_bricks(
    module: nn.Module, scale: float, others: Mapping[str, tuple[Tensor, Tensor]]
) -> None:
    """Scale the trainable deltas of an attached module, and add frozen ones as a merge does.

    Args:
        module: what `attach` made.
        scale: factor on every trainable delta, as a merge's coefficient.
        others: per target name left (out, n) and right (n, in), whose product is added;
            targets left out have none.
    """
    for part in module.modules():
        if isinstance(part, AdaptedLinear):
            part.set_other_bricks(scale, others)


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
        self.factors = nn.ModuleList(nn.ParameterList(parts) for parts in factors)
        self._targets = tuple(targets)
        self._scale = 1.0
        self._others: list[tuple[Tensor, Tensor]] = []

    def set_other_bricks(self, scale: float, others: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """See the function of this name."""
        self._scale = scale
        mine = [(t, *others[t.name]) for t in self._targets if t.name in others]
        rows = self.linear.out_features
        self._others = [(t.placed(left, rows), right) for t, left, right in mine]

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) → (…, out): W x + b + Σ of scale · left diag(S) right x + the others'."""
        pairs = []
        for target, parts in zip(self._targets, self.factors, strict=True):
            left, *values, right = parts.parameters()
            whole = left * values[0] if values else left
            pairs.append((target.placed(whole * self._scale, self.linear.out_features), right))
        lefts, rights = zip(*pairs, *self._others, strict=True)
        inner = F.linear(inputs, torch.cat(rights))
        result: Tensor = self.linear(inputs) + F.linear(inner, torch.cat(lefts, dim=1))
        return result
