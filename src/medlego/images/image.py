"""Pixels of one image as float32, and how they are fitted into a network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.errors import ImageError
from medlego.images.mending import warnings_of
from medlego.support import ShortRepr

_UNEQUAL = 0.01
"""Spacings that differ by less than this share are taken as equal."""


@dataclass(frozen=True, eq=False, repr=False)
class Image(ShortRepr):
    """Pixels as read, with the steps that led to them.

    `pixels` is (channels, height, width) float32 in [0, 1], with 1 (grey) or 3 (RGB) channels.
    `applied` never holds patient data; what begins with `WARNING` is to be seen by people.
    `spacing_mm` is the distance of rows and of columns, None where it is unknown; `ratio` is what
    it would be proportional to, where a file says only that.
    """

    pixels: Tensor
    applied: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] | None = None
    ratio: tuple[float, float] | None = None

    @classmethod
    def of(
        cls,
        array: np.ndarray,
        applied: tuple[str, ...] = (),
        spacing_mm: tuple[float, float] | None = None,
        ratio: tuple[float, float] | None = None,
    ) -> Image:
        """An image of (height, width) or (height, width, 3) float32 in [0, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(array))
        pixels = pixels[None] if array.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
        return cls(pixels, applied, spacing_mm, ratio)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The steps that people should see, since the file contradicted itself or was mended."""
        return warnings_of(self.applied)

    @property
    def aspect(self) -> float:
        """A pixel's height over its width; 1 where that is unknown or almost so."""
        tall, wide = self.spacing_mm or self.ratio or (1.0, 1.0)
        return tall / wide if abs(tall / wide - 1.0) > _UNEQUAL else 1.0


def from_array(array: np.ndarray, applied: tuple[str, ...] = ()) -> Image:
    """Wrap one uint8 array, (height, width) or (height, width, 3), as an image.

    Raises:
        ImageError: another shape or type.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise ImageError(
            f"array: expected uint8 (h, w) or (h, w, 3), got {array.dtype} {array.shape}"
        )
    return Image.of(array.astype(np.float32) / np.float32(255.0), applied)


@dataclass(frozen=True)
class Box:
    """A rectangle of a square network input, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def letterbox(height: int, width: int, size: int, aspect: float = 1.0) -> Box:
    """Where `fit` puts an image of height × width pixels in an input of size × size.

    `aspect` is a pixel's height over its width.
    """
    tall = height * aspect
    longest = max(tall, width)
    rows, columns = max(1, round(tall * size / longest)), max(1, round(width * size / longest))
    return Box((size - rows) // 2, (size - columns) // 2, rows, columns)


def fit(image: Image, size: int) -> Tensor:
    """Scale an image to a square network input without cutting anything off.

    The longer side becomes `size` (bicubic, antialiased), the shorter side is centred on
    black; grey is repeated to three channels. Sides are compared in millimetres where rows and
    columns are unequally spaced, so that anatomy keeps its proportions.

    Returns:
        (3, size, size) float32 in [0, 1].
    """
    pixels = image.pixels
    _, height, width = pixels.shape
    box = letterbox(height, width, size, image.aspect)
    if (box.height, box.width) != (height, width):
        pixels = F.interpolate(
            pixels[None],
            (box.height, box.width),
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )[0].clamp_(0.0, 1.0)
    if (box.height, box.width) != (size, size):
        right, bottom = size - box.width - box.left, size - box.height - box.top
        pixels = F.pad(pixels, (box.left, right, box.top, bottom))
    return pixels.expand(3, size, size)
