"""Frozen deltas of several bricks, weighted by trainable coefficients: one a brick and block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks.adapters.surgery import wrapped
from medlego.bricks.lowrank import LowRank


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
