"""The profile of a training set: one pass of its images through the frozen base's first blocks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from medlego.adapters import on_device
from medlego.base import Base
from medlego.errors import SettingsError
from medlego.loading import Inputs
from medlego.profile import BLOCKS
from medlego.progress import Progress, silent
from medlego.stem import depth, embed, stem_features, through

BATCH = 64


@torch.inference_mode()
def measure_features(
    base: Base,
    inputs: Inputs,
    *,
    blocks: int = BLOCKS,
    device: str = "cpu",
    show: Progress = silent,
) -> Tensor:
    """Stem features of images as they are, (N, d), on the CPU.

    Args:
        base: frozen, unadapted.
        inputs: the images.
        blocks: of the stem.
        device: for the pass, in float32.
        show: called with what is under way, done and total.

    Raises:
        SettingsError: more blocks than the base has.

    Cost: `blocks` of the base's blocks an image.
    """
    if not 0 <= blocks <= (most := depth(base.module)):
        raise SettingsError(f"profile: expected a stem of 0 to {most} blocks, got {blocks}")
    module = on_device(base.module, device)

    def parts() -> Iterator[Tensor]:
        for number, pixels in enumerate(inputs.batches(BATCH)):
            show("profile", number * BATCH, len(inputs))
            tokens = embed(module, base.normalise(pixels.to(device)))
            yield stem_features(module, through(module, tokens, 0, blocks)).cpu()

    return torch.cat(list(parts()))
