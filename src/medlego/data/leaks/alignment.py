"""Two thumbnails laid on one another, and how alike their textures then are.

What remains of different images of one organ, once their coarse shapes are taken out, is hardly
alike; what remains of two copies is, wherever they were cut, turned a little, or mirrored.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.data.leaks.descriptors import SIDE

MIN_AREA = 0.1
"""Share of the picture that both must show, with texture in it, before a likeness counts."""
COARSE = 0.6
"""Pairs that are less alike after the search, or at half the side, are not followed up."""

_NEIGHBOURHOOD = 9
_EVEN = 0.1
"""Deviation from the neighbourhood, in standard deviations, below which texture fades out."""
_FLAT = 0.04
"""Range within 3 × 3 pixels, in standard deviations, of what was filled in at the edge."""
_HALF = SIDE // 2
_REACH = 6
"""Shift of the coarse search in its pixels: a fifth of the picture."""
_TURNS = [
    (math.radians(angle), math.log(zoom), mirrored)
    for mirrored in (False, True)
    for angle in (-7.0, 0.0, 7.0)
    for zoom in (0.83, 1.0, 1.2)
]
_ANGLES, _ZOOMS = (torch.tensor([turn[i] for turn in _TURNS]) for i in (0, 1))
_MIRRORED = torch.tensor([turn[2] for turn in _TURNS])
_STEP = 0.01
_LONGEST_STEP = 0.08


class Texture(NamedTuple):
    """Thumbnails without their coarse shapes: `values` and where they are `valid`, (n, s, s)."""

    values: Tensor
    valid: Tensor

    def take(self, indices: Tensor) -> Texture:
        """Those at `indices`."""
        return Texture(self.values[indices], self.valid[indices])

    def half(self) -> Texture:
        """The same at half the side."""
        return Texture(_pooled(self.values), _pooled(self.valid))


class _Placing(NamedTuple):
    """How a second picture lies on a first: angle, log zoom, x and y (n, 4), mirrored (n,)."""

    numbers: Tensor
    mirrored: Tensor


def texture(thumbnails: Tensor) -> Texture:
    """What `likeness` compares; thumbnails (n, SIDE, SIDE) uint8."""
    values = thumbnails.float()
    spread = values.std((1, 2), keepdim=True)
    values = (values - values.mean((1, 2), keepdim=True)) / spread.clamp_min(1.0)
    detail = values - _box(values, _NEIGHBOURHOOD)
    size = _box(detail.square(), _NEIGHBOURHOOD).sqrt()
    near_fill = F.max_pool2d(_fill(values), _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2)
    return Texture(_box(detail / (size + _EVEN), 3), 1.0 - near_fill[:, 0])


def likeness(first: Texture, second: Texture) -> Tensor:
    """Correlation of two textures where both are valid, best over how one lies on the other.

    Args:
        first: n of them.
        second: as many; pair by pair.

    Returns:
        (n,) float32, `COARSE` to 1; 0 for less, and where too little of the pictures overlaps.
    """
    score, placing = _search(first.half(), second.half())
    best = torch.zeros_like(score)
    rows, good = torch.arange(len(score)), score >= COARSE
    for half in (True, False):
        rows, first, second, placing = (
            rows[good],
            first.take(good),
            second.take(good),
            _Placing(placing.numbers[good], placing.mirrored[good]),
        )
        if not len(rows):
            return best
        pair = (first.half(), second.half()) if half else (first, second)
        score, placing, area = _refine(*pair, placing, 4)
        good = (area >= MIN_AREA) & (score >= COARSE)
    best[rows[good]] = score[good]
    return best


def _search(first: Texture, second: Texture) -> tuple[Tensor, _Placing]:
    """The best of a few turns, each with its best shift by correlation of spectra."""
    window = torch.hann_window(_HALF + 2, periodic=False)[1:-1]
    window = window[:, None] * window
    count, turns = len(first.values), len(_TURNS)
    nowhere = torch.zeros(turns)
    grid = _grid(torch.stack([_ANGLES, _ZOOMS, nowhere, nowhere], 1), _MIRRORED, _HALF)
    turned = F.grid_sample(
        second.values[None].expand(turns, -1, -1, -1),
        grid,
        padding_mode="border",
        align_corners=False,
    )
    still = torch.fft.rfft2(_scaled(first.values * window))
    moved = torch.fft.rfft2(_scaled(turned * window))
    shifts = torch.cat([torch.arange(_REACH + 1), torch.arange(_HALF - _REACH, _HALF)])
    products = torch.fft.irfft2(still.conj() * moved, s=(_HALF, _HALF))
    near = products[:, :, shifts][:, :, :, shifts].transpose(0, 1).reshape(count, -1)
    score, place = near.max(1)
    width = len(shifts)
    signed = torch.where(shifts > _HALF // 2, shifts - _HALF, shifts) * (2 / _HALF)
    turn = place // width**2
    down, right = signed[place // width % width], signed[place % width]
    angle, zoom = _ANGLES[turn], _ZOOMS[turn]
    cos, sin = angle.cos() * zoom.exp(), angle.sin() * zoom.exp()
    numbers = torch.stack([angle, zoom, cos * right - sin * down, sin * right + cos * down], 1)
    return score, _Placing(numbers, _MIRRORED[turn])


def _refine(
    first: Texture, second: Texture, placing: _Placing, steps: int
) -> tuple[Tensor, _Placing, Tensor]:
    """Levenberg-Marquardt on the correlation; its score, its placing and the area compared."""
    numbers, mirrored = placing
    damping = torch.full((len(numbers),), 0.01)
    score, laid, area = _compare(first, second, placing)
    for _ in range(steps):
        still, moved = _unit(first.values, area), _unit(laid, area)
        slopes = []
        for axis in range(4):
            nudged = numbers.clone()
            nudged[:, axis] += _STEP
            there, _ = _lay(second, _Placing(nudged, mirrored))
            slopes.append(((_unit(there, area) - moved) / _STEP).flatten(1))
        slope = torch.stack(slopes, 2)
        normal = slope.mT @ slope
        diagonal = normal.diagonal(dim1=1, dim2=2)
        normal = normal + torch.diag_embed(diagonal * damping[:, None] + 1e-6)
        gradient = slope.mT @ (still - moved).flatten(1)[:, :, None]
        step = torch.linalg.solve(normal, gradient)[:, :, 0].clamp(-_LONGEST_STEP, _LONGEST_STEP)
        tried = _compare(first, second, _Placing(numbers + step, mirrored))
        better = (tried[0] > score) & (tried[2].mean((1, 2)) >= MIN_AREA)
        numbers = torch.where(better[:, None], numbers + step, numbers)
        score = torch.where(better, tried[0], score)
        laid = torch.where(better[:, None, None], tried[1], laid)
        area = torch.where(better[:, None, None], tried[2], area)
        damping = torch.where(better, damping * 0.3, damping * 5.0)
    return score, _Placing(numbers, mirrored), area.mean((1, 2))


def _compare(first: Texture, second: Texture, placing: _Placing) -> tuple[Tensor, Tensor, Tensor]:
    laid, valid = _lay(second, placing)
    area = valid * (first.valid > 0.99)
    return (_unit(first.values, area) * _unit(laid, area)).sum((1, 2)), laid, area


def _lay(second: Texture, placing: _Placing) -> tuple[Tensor, Tensor]:
    """The second texture as it lies on the first, and where it is valid."""
    grid = _grid(*placing, second.values.shape[-1])
    both = torch.stack(second, 1)
    laid = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(-1)
    return laid[:, 0], (inside & (laid[:, 1] > 0.99)).float()


def _grid(numbers: Tensor, mirrored: Tensor, side: int) -> Tensor:
    angle, zoom, right, down = numbers.unbind(1)
    cos, sin = angle.cos() * zoom.exp(), angle.sin() * zoom.exp()
    sign = torch.where(mirrored, -1.0, 1.0)
    rows = [torch.stack([sign * cos, -sign * sin, sign * right], 1)]
    rows.append(torch.stack([sin, cos, down], 1))
    return F.affine_grid(torch.stack(rows, 1), [len(numbers), 1, side, side], align_corners=False)


def _unit(values: Tensor, area: Tensor) -> Tensor:
    """Values within an area, their mean taken out, of norm 1."""
    count = area.sum((1, 2), keepdim=True).clamp_min(1.0)
    values = (values - (values * area).sum((1, 2), keepdim=True) / count) * area
    return _scaled(values)


def _scaled(values: Tensor) -> Tensor:
    return values / values.square().sum((-2, -1), keepdim=True).sqrt().clamp_min(1e-6)


def _fill(values: Tensor) -> Tensor:
    """Even areas that reach the edge: what a shift, a turn or a frame filled in, (n, 1, s, s)."""
    values = values[:, None]
    ranges = F.max_pool2d(values, 3, 1, 1) + F.max_pool2d(-values, 3, 1, 1)
    flat = (ranges < _FLAT).float()
    reached = flat.clone()
    reached[:, :, 1:-1, 1:-1] = 0.0
    for _ in range(SIDE):
        reached = flat * F.max_pool2d(reached, 3, 1, 1)
    return reached


def _box(values: Tensor, side: int) -> Tensor:
    padded = F.pad(values[:, None], (side // 2,) * 4, mode="replicate")
    return F.avg_pool2d(padded, side, 1)[:, 0]


def _pooled(values: Tensor) -> Tensor:
    return F.avg_pool2d(values[:, None], 2)[:, 0]
