"""A penalty that keeps a brick quiet on images that are not its own.

In a merge every brick's delta acts on every task's images. How strongly follows from second
moments alone: E‖ΔW x‖² = tr(ΔW G ΔWᵀ) with G = E x xᵀ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medlego.targets import Target

Moments = Mapping[str, Tensor]
"""Per module path the second moment (in, in) of its inputs."""

NOTHING = 1e-6
"""Added to the energy on own images, which is zero before the first step."""


class Quiet:
    """Σ E‖ΔW x‖² over strangers' images / Σ E‖ΔW x‖² over own ones, all targets together.

    A ratio, so that it does not ask for a weaker delta, only for one that looks elsewhere. Both
    moments are of the frozen base: of deeper layers they are an approximation.
    """

    def __init__(self, targets: Sequence[Target], own: Moments, strangers: Moments) -> None:
        self._targets = tuple(targets)
        self._own = {path: moment.float() for path, moment in own.items()}
        self._strangers = {path: moment.float() for path, moment in strangers.items()}

    def __call__(self, factors: Mapping[str, tuple[nn.Parameter, ...]]) -> Tensor:
        """The ratio, differentiable in the factors; ()."""
        loud, own = [], []
        for target in self._targets:
            parts = factors[target.name]
            left = parts[0] * parts[1] if len(parts) == 3 else parts[0]
            gram, right = left.T @ left, parts[-1]
            loud.append((gram * (right @ self._strangers[target.module] @ right.T)).sum())
            own.append((gram * (right @ self._own[target.module] @ right.T)).sum())
        return torch.stack(loud).sum() / (torch.stack(own).sum() + NOTHING)
