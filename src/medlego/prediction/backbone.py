"""The one way of images through a base: pixels become tokens, tokens become features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medlego.base import Base, Inputs, embed, features, stem_features, through
from medlego.bricks import Adapter, fold, on_device
from medlego.generalist import Generalist
from medlego.support import NoPickle, Progress, silent


class Backbone(NoPickle, instead="make it from its base there"):
    """A base on a device, bare or with deltas folded into its weights.

    `module` is the base's own where neither a device nor deltas ask for a copy.
    """

    def __init__(self, base: Base, adapter: Adapter | None = None, device: str = "cpu") -> None:
        """Fold an adapter's deltas into a copy of the base, if there is one.

        Raises:
            BaseError: the base lacks a target.
        """
        module = base.module
        if adapter is not None:
            module = fold(module, adapter.targets, adapter.deltas)
        self.base, self.device = base, device
        self.module = on_device(module, device)

    @classmethod
    def of(cls, generalist: Generalist, base: Base, device: str = "cpu") -> Backbone:
        """With a generalist's merged deltas, whatever its mode.

        Raises:
            GeneralistError: another base than the bricks'.
        """
        generalist.check_base(base)
        return cls(base, generalist.adapter, device)

    def embed(self, pixels: Tensor) -> Tensor:
        """Images (N, 3, size, size) in [0, 1] → tokens (N, tokens, width) before the first block.

        The tokens are on the device.
        """
        return embed(self.module, self._inputs(pixels))

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """Images (N, 3, size, size) in [0, 1] → pooled features (N, features), on the CPU."""
        return features(self.module, self._inputs(pixels)).float().cpu()

    @torch.inference_mode()
    def stem_features(self, pixels: Tensor, blocks: int) -> Tensor:
        """Images (N, 3, size, size) in [0, 1] → stem features (N, 2 · width), on the CPU."""
        return stem_features(self.module, through(self.module, self.embed(pixels), 0, blocks)).cpu()

    def _inputs(self, pixels: Tensor) -> Tensor:
        return self.base.normalise(pixels.to(self.device))


def features_of(
    read: Callable[[Tensor], Tensor], inputs: Inputs, show: Progress = silent, what: str = ""
) -> Tensor:
    """Features of a whole split, (N, …), batch by batch.

    Args:
        read: a batch of images to their features, such as `Backbone.features`.
        inputs: the split.
        show: called with `what`, images done and images in all.
        what: is under way.
    """
    return torch.cat([read(pixels) for pixels in inputs.batches(show=show, what=what)])
