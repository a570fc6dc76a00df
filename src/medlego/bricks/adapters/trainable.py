"""What is trained on a base: a brick's deltas, or how much each of several bricks counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks.adapters.surgery import wrapped
from medlego.bricks.lowrank import LowRank


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


def attach_weighted(
    module: nn.Module,
    targets: Sequence[Target],
    deltas: Sequence[Mapping[str, LowRank]],
    coefficients: nn.Parameter,
) -> nn.Module:
    """A copy of `module` that adds Σ_k coefficients[k, block] · ΔW_k to its linear maps.

    Args:
        module: a base's module; left as it is, its weights shared and frozen.
        targets: where the deltas belong.
        deltas: K bricks' by target name; one need not have every target.
        coefficients: (K, blocks), trainable.

    Raises:
        BaseError: the module lacks a target.
    """

    def wrap(linear: nn.Linear, members: list[Target]) -> nn.Module:
        return _WeightedLinear(linear, members, deltas, coefficients)

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


class _WeightedLinear(nn.Module):
    """A frozen linear map plus weighted frozen updates of some of its output rows."""

    left: Tensor
    right: Tensor
    owner: Tensor

    def __init__(
        self,
        linear: nn.Linear,
        targets: Sequence[Target],
        deltas: Sequence[Mapping[str, LowRank]],
        coefficients: nn.Parameter,
    ) -> None:
        super().__init__()
        self.linear, self.coefficients = linear, coefficients
        self._block = targets[0].block
        lefts, rights, owners = [], [], []
        for target in targets:
            for number, by_target in enumerate(deltas):
                if (delta := by_target.get(target.name)) is not None:
                    lefts.append(target.placed(delta.U * delta.S, linear.out_features))
                    rights.append(delta.Vh)
                    owners += [number] * delta.rank
        device = linear.weight.device
        self.register_buffer("left", torch.cat(lefts, dim=1).to(device))
        self.register_buffer("right", torch.cat(rights).to(device))
        self.register_buffer("owner", torch.tensor(owners, device=device))

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) → (…, out): W x + b + Σ_k c_k ΔW_k x."""
        inner = F.linear(inputs, self.right) * self.coefficients[self.owner, self._block]
        result: Tensor = self.linear(inputs) + F.linear(inner, self.left)
        return result
