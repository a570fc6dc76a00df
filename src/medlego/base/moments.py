"""Second moments of what goes into a model's linear maps, over a set of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from medlego.base.base import Base
from medlego.base.blocks import features
from medlego.base.targets import Target

Moments = Mapping[str, Tensor]
"""Per module path the second moment (in, in) of its inputs."""


@torch.no_grad()
def input_moments(
    base: Base, module: nn.Module, targets: Iterable[Target], batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    """(1/n) Σ x xᵀ over all n inputs x, every token of every image, of some linear maps.

    Args:
        base: says how images are handed to the module.
        module: a base's module or an adapted copy of it, on any device.
        targets: whose linear maps.
        batches: images, (N, 3, size, size) in [0, 1]; at least one.

    Returns:
        Per path (in, in), float64.
    """
    device = next(module.parameters()).device
    widths = {target.module: target.in_features for target in targets}
    sums = {
        path: torch.zeros(width, width, dtype=torch.float64, device=device)
        for path, width in widths.items()
    }
    counts = dict.fromkeys(sums, 0)

    def add(path: str, _module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        rows = arguments[0].flatten(0, -2).double()
        sums[path] += rows.T @ rows
        counts[path] += len(rows)

    handles = [
        module.get_submodule(path).register_forward_pre_hook(partial(add, path)) for path in sums
    ]
    try:
        for pixels in batches:
            features(module, base.normalise(pixels.to(device)))
    finally:
        for handle in handles:
            handle.remove()
    return {path: total / counts[path] for path, total in sums.items()}
