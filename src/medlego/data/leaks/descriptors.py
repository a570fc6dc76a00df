"""What an image looks like in few numbers: a thumbnail, and a descriptor to search by.

The descriptor is the magnitude of the thumbnail's low frequencies. It does not move with the
image, is the same for its mirror image, and forgets brightness and contrast; what is cut
off or added at the edges is met by descriptors of the thumbnail's middle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.images import Image

SIDE = 64
"""Height and width of a thumbnail."""
ZOOMS = (1.0, 0.9, 0.8)
"""Shares of the thumbnail's side that are described."""

_CUT = 8
"""Highest frequency used, in cycles per image."""
_GREY = torch.tensor([0.299, 0.587, 0.114])
"""ITU-R BT.601 luma."""


def thumbnail(image: Image) -> Tensor:
    """The whole image as (SIDE, SIDE) uint8, grey, from its darkest to its brightest value.

    Sides are scaled apart, so that a stretched copy has the same thumbnail.
    """
    pixels = image.pixels
    grey = pixels[0] if len(pixels) == 1 else (pixels * _GREY[:, None, None]).sum(0)
    small = F.interpolate(
        grey[None, None], (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
    low, high = small.aminmax()
    return ((small - low) * (255.0 / (high - low).clamp_min(1e-6)) + 0.5).to(torch.uint8)


def describe(thumbnails: Tensor) -> Tensor:
    """Descriptors of thumbnails.

    Args:
        thumbnails: (n, SIDE, SIDE) uint8.

    Returns:
        (n, len(ZOOMS), `WIDTH`) float32 of norm 1, or 0 for an even picture. The product of two is
        their similarity.
    """
    values = thumbnails.float()[:, None]
    return torch.stack([_spectrum(_middle(values, zoom)) for zoom in ZOOMS], dim=1)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """The best similarity of two images over their zooms, the whole of at least one of them.

    Args:
        first: (n, len(ZOOMS), `WIDTH`).
        second: (m, len(ZOOMS), `WIDTH`).

    Returns:
        (n, m) float32.
    """
    best = first[:, 0] @ second[:, 0].T
    for zoom in range(1, len(ZOOMS)):
        torch.maximum(best, first[:, zoom] @ second[:, 0].T, out=best)
        torch.maximum(best, first[:, 0] @ second[:, zoom].T, out=best)
    return best


def _middle(values: Tensor, zoom: float) -> Tensor:
    side = round(SIDE * zoom)
    if side == SIDE:
        return values[:, 0]
    start = (SIDE - side) // 2
    inner = values[:, :, start : start + side, start : start + side]
    return F.interpolate(inner, (SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]


def _spectrum(values: Tensor) -> Tensor:
    window = torch.hann_window(SIDE, periodic=False)
    values = (values - values.mean((1, 2), keepdim=True)) * window[:, None] * window
    spectrum = torch.fft.rfft2(values).abs()
    down = spectrum[:, : _CUT + 1, : _CUT + 1]
    up = torch.cat([spectrum[:, :1], spectrum[:, -_CUT:].flip(1)], 1)[:, :, : _CUT + 1]
    # mirroring swaps the two halves: their sum and difference's size stay
    both = torch.stack([down + up, (down - up).abs()], 1) * _RADIUS
    flat = both[:, :, _USED].flatten(1).sqrt()
    even = values.abs().amax((1, 2))[:, None] < 1e-3
    return F.normalize((flat - flat.mean(1, keepdim=True)).masked_fill(even, 0.0), dim=1)


_STEPS = torch.arange(_CUT + 1.0)
_RADIUS = (_STEPS[:, None].square() + _STEPS.square()).sqrt()
_USED = (_RADIUS > 0) & (_RADIUS <= _CUT + 0.5)
WIDTH = 2 * int(_USED.sum())
"""Numbers in a descriptor."""
