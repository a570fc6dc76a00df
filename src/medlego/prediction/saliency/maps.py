"""A saliency map: one number per patch, and how it comes back to the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from medlego.data import Task
from medlego.images import letterbox
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Saliency(ShortRepr):
    """What a method says of one label on one image.

    `patches` is (rows, columns) float32 over the square input of `input_size` pixels a side:
    log odds for (above zero) and against the label by `gradient`, shares of attention by
    `rollout`. `image_size` is (height, width) of the image in pixels, `aspect` a pixel's height
    over its width, `prob` the label's probability.
    """

    task: Task
    label: str
    prob: float
    method: str
    patches: Tensor
    input_size: int
    image_size: tuple[int, int]
    aspect: float = 1.0

    @property
    def signed(self) -> bool:
        """Whether zero divides evidence for the label from evidence against it."""
        return self.method != "rollout"

    @property
    def heat(self) -> Tensor:
        """At the input's size, (input_size, input_size): bilinear between patches' centres."""
        size = (self.input_size, self.input_size)
        return _resized(self.patches, size)

    def on_image(self) -> Tensor:
        """At the image's own size, (height, width); what lay on the input's margin is cut off."""
        box = letterbox(*self.image_size, self.input_size, self.aspect)
        inside = self.heat[box.top : box.top + box.height, box.left : box.left + box.width]
        return _resized(inside, self.image_size)


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(
        values[None, None], size, mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
