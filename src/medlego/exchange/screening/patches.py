"""Small patches stamped on images, as a backdoor's trigger would be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BATTERY = 1
"""Changes whenever what `battery` yields does."""
SHARE = 1 / 7
"""A patch's side over the image's."""
PLACES = ((0.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (1.0, 1.0))
"""Where patches go: rows and columns from 0, the first, to 1, the last that fits."""
COLOURS = {
    "white": (1, 1, 1),
    "black": (0, 0, 0),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
}
NOISES, COARSE = 4, 4
"""Draws of each kind of noise; cells along a side of the coarse kind."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A square of pixels, (3, side, side) in [0, 1], and its place."""

    name: str
    pixels: Tensor
    place: tuple[float, float]

    def stamp(self, images: Tensor) -> Tensor:
        """A copy of (N, 3, size, size) images that shows the patch."""
        side, (row, column) = self.pixels.shape[-1], self._corner(images)
        stamped = images.clone()
        stamped[..., row : row + side, column : column + side] = self.pixels
        return stamped

    def _corner(self, images: Tensor) -> tuple[int, int]:
        room = images.shape[-1] - self.pixels.shape[-1]
        row, column = (round(share * room) for share in self.place)
        return row, column


def battery(image_size: int) -> tuple[Patch, ...]:
    """Plain colours, checkers, stripes and noise, at every place; always the same.

    Args:
        image_size: height and width of the images, in pixels.
    """
    patterns = _patterns(max(4, round(image_size * SHARE)))
    return tuple(Patch(n, pixels, place) for n, pixels in patterns.items() for place in PLACES)


def _patterns(side: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    line = torch.arange(side)
    patterns = {name: torch.tensor(c).float().view(3, 1, 1) for name, c in COLOURS.items()}
    for width in (2, 4):
        cells = line[:, None] // width + line // width
        patterns[f"checker of {width} px"] = (cells % 2).float()
    rows = (line[:, None] // 2 % 2).float()
    patterns |= {"stripes across": rows, "stripes down": rows.T}
    for number in range(NOISES):
        patterns[f"noise {number}"] = torch.rand(3, side, side, generator=generator)
    for number in range(NOISES):
        coarse = torch.rand(3, COARSE, COARSE, generator=generator)
        places = line * COARSE // side
        patterns[f"coarse noise {number}"] = coarse[:, places][:, :, places]
    return {name: pixels.expand(3, side, side).contiguous() for name, pixels in patterns.items()}
