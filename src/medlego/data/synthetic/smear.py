"""What lies around the white cell of a blood smear: red cells and platelets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medlego.data.synthetic.canvas import Array, ellipse, inside, rotate

REACH = 1.25
"""Half side of a red cell's square, in radii."""


def red_cells(
    size: int, centre: tuple[float, float], hole: float, rng: np.random.Generator
) -> Array:
    """Thickness of red cells that leave a disc around `centre` mostly free, (size, size)."""
    radius = rng.uniform(0.24, 0.32)
    sites = _sites(radius, centre, hole, rng)
    count = len(sites)
    reach = math.ceil(REACH * radius * size / 2)
    side = 2 * reach + 1
    middle = (sites + 1.0) * (size / 2)
    corner = np.floor(middle).astype(np.intp) - reach
    pixels = corner[..., None] + np.arange(side) + 0.5
    offset = ((pixels - middle[..., None]) * (2 / (size * radius))).astype(np.float32)
    x, y = offset[:, 0, None, :], offset[:, 1, :, None]
    a, b, c = rng.uniform((0.9, 0.9, -0.2), (1.2, 1.2, 0.2), (count, 3)).astype(np.float32).T
    square = a[:, None, None] * x * x + b[:, None, None] * y * y + c[:, None, None] * x * y
    border = (np.sqrt(square) - 1.0) * radius
    pallor = rng.uniform(0.2, 0.7) * inside(border + 0.55 * radius, 0.7 * radius)
    discs = inside(border, 0.06) * (1.0 - pallor)
    thickness = np.zeros((size + 2 * side, size + 2 * side), dtype=np.float32)
    for disc, (left, top) in zip(discs, (corner + side).tolist(), strict=True):
        thickness[top : top + side, left : left + side] += disc
    return thickness[side:-side, side:-side] * rng.uniform(0.55, 0.95)


def add_platelets(azure: Array, x: Array, y: Array, rng: np.random.Generator) -> None:
    """Add up to three platelets to the azure stain, (size, size), in place."""
    for _ in range(int(rng.integers(4))):
        site, radius = rng.uniform(-1.0, 1.0, 2).tolist(), rng.uniform(0.04, 0.08)
        rows, columns = box(site, 2.0 * radius, len(azure))
        border = ellipse(x[:, columns], y[rows], site, (radius, radius))
        azure[rows, columns] += 0.5 * inside(border, 0.8 * radius)


def box(centre: Sequence[float], reach: float, size: int) -> tuple[slice, slice]:
    """Rows and columns within `reach` of a centre (x, y), as far as the image goes."""
    left, top = (math.floor((at - reach + 1.0) * size / 2) for at in centre)
    right, bottom = (math.ceil((at + reach + 1.0) * size / 2) for at in centre)
    return slice(max(top, 0), bottom), slice(max(left, 0), right)


def _sites(
    radius: float, centre: tuple[float, float], hole: float, rng: np.random.Generator
) -> np.ndarray:
    """Centres (x, y) on a shaken, thinned hexagonal lattice, (N, 2) with |x|, |y| < 1 + radius."""
    pitch = radius * rng.uniform(2.0, 2.8)
    rows = np.arange(-4, 5)
    across = (rows[None, :] + 0.5 * (rows[:, None] % 2)) * pitch
    down = np.broadcast_to(rows[:, None] * pitch * 0.87, across.shape)
    lattice = np.stack(rotate(across, down, rng.uniform(0.0, math.tau)), axis=-1).reshape(-1, 2)
    sites = lattice + rng.normal(0.0, 0.22 * pitch, lattice.shape)
    visible = np.abs(sites).max(axis=1) < 1.0 + radius
    clear = np.hypot(*(sites - centre).T) > hole + 0.75 * radius
    drawn: np.ndarray = sites[visible & clear & (rng.random(len(sites)) < rng.uniform(0.45, 1.0))]
    return drawn
