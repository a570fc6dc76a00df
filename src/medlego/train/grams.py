"""The Gram matrices of a trained brick: one more pass over the training images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medlego.adapters import fold, on_device
from medlego.base import Base, features
from medlego.brick import Brick
from medlego.errors import SettingsError
from medlego.gram import MIN_IMAGES, Gram
from medlego.loading import Inputs
from medlego.progress import Progress, silent
from medlego.threads import one_thread

BATCH = 64


def check_images(count: int) -> None:
    """Refuse to take Grams of few images, which would say too much about each.

    Raises:
        SettingsError: fewer than `MIN_IMAGES`.
    """
    if count < MIN_IMAGES:
        raise SettingsError(
            f"gram: expected at least {MIN_IMAGES} training images, got {count}; "
            "train without it, or with more images"
        )


@torch.no_grad()
def measure_grams(
    base: Base,
    brick: Brick,
    inputs: Inputs,
    directions: int,
    *,
    device: str = "cpu",
    show: Progress = silent,
) -> dict[str, Gram]:
    """What goes into each adapted module of a brick on its base, as Gram matrices.

    Args:
        base: the brick's base.
        brick: folded in, so that inputs are those that the trained model sees.
        inputs: the training images, as they are.
        directions: leading eigenvectors to keep, or all where a module has fewer inputs.
        device: for the forward pass, in float32, and the sums, in float64.
        show: called with what is under way, done and total.

    Returns:
        One Gram per module path; q, k and v of one block share theirs.

    Raises:
        SettingsError: fewer than `MIN_IMAGES` images.

    Cost: one forward pass an image, n · in² a module for n tokens in all, and in³ once.
    """
    check_images(len(inputs))
    model = on_device(fold(base.module, brick.targets, brick.deltas), device)
    sums = {module: _Moment() for module in dict.fromkeys(t.module for t in brick.targets)}
    hooks = [model.get_submodule(m).register_forward_pre_hook(s.add) for m, s in sums.items()]
    done = 0
    for pixels in inputs.batches(BATCH):
        show("input statistics", done, len(inputs))
        features(model, base.normalise(pixels.to(device)))
        done += len(pixels)
    for hook in hooks:
        hook.remove()
    with one_thread():
        return {m: Gram.of(s.mean(), directions, len(inputs)) for m, s in sums.items()}


class _Moment:
    """Σ x xᵀ and the number of x, over everything that a module is called with."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Count the inputs (…, in) of one call in."""
        tokens = arguments[0].flatten(0, -2).double()
        self._sum = self._sum + tokens.mT @ tokens
        self._count += len(tokens)

    def mean(self) -> Tensor:
        """(in, in) on the CPU."""
        return torch.as_tensor(self._sum / self._count).cpu()
