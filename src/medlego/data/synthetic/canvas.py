"""Drawing by arithmetic: soft shapes and smooth noise on a grid that runs from −1 to 1.

Lengths are in half widths of the image, so that a shape looks the same at every size.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 throughout; typed more widely because numpy types its own arithmetic so."""


def grid(size: int) -> tuple[Array, Array]:
    """Pixel centres: x (1, size) from left to right, y (size, 1) from top to bottom."""
    axis = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    return axis[None, :], axis[:, None]


def posed(
    size: int, rng: np.random.Generator, *, turn: float, shift: float, zoom: float, warp: float
) -> tuple[Array, Array]:
    """Coordinates of a randomly turned, shifted, scaled and bent patient, each (size, size).

    Args:
        turn: standard deviation of the rotation, radians.
        shift: largest offset along each axis, half widths.
        zoom: standard deviation of the logarithm of each axis's scale.
        warp: standard deviation of a smooth displacement, half widths.
    """
    x, y = grid(size)
    angle = rng.normal(0.0, turn)
    dx, dy = rng.uniform(-shift, shift, 2).tolist()
    both, ratio = rng.normal(0.0, zoom), rng.normal(0.0, zoom / 2)
    u, v = rotate(x - dx, y - dy, angle)
    u *= math.exp(both + ratio)
    v *= math.exp(both - ratio)
    return u + warp * smooth(size, rng, 3), v + warp * smooth(size, rng, 3)


def rotate(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates in axes turned by `angle` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def ellipse(
    x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0
) -> Array:
    """Roughly the signed distance to an ellipse's border, negative inside."""
    u, v = rotate(x - centre[0], y - centre[1], turn)
    norm = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2)
    return (norm - 1.0) * min(radii)


def capsule(x: Array, y: Array, a: tuple[float, float], b: tuple[float, float]) -> Array:
    """Distance to the segment from a to b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0)
    return np.hypot(x - a[0] - along * dx, y - a[1] - along * dy)


def inside(distance: Array, softness: float) -> Array:
    """1 inside, 0 outside, with a ramp of `softness` centred on the border."""
    ramp = 0.5 - distance * (1.0 / softness)
    np.maximum(ramp, 0.0, out=ramp)
    np.minimum(ramp, 1.0, out=ramp)
    return ramp


def smooth(size: int, rng: np.random.Generator, cells: int, cells_down: int | None = None) -> Array:
    """Smooth noise of mean 0 and variance 1, (size, size), with `cells` bumps across."""
    across = _spline(size, cells)
    down = _spline(size, cells_down or cells)
    knots = rng.standard_normal((down.shape[1], across.shape[1]), dtype=np.float32)
    # 0.55 is the mean of the squared B-spline, so this is the standard deviation in 2-D
    noise: Array = down @ knots @ across.T / np.float32(0.55)
    return noise


def white(size: int, rng: np.random.Generator) -> Array:
    """Independent noise of mean 0 and variance 1, (size, size)."""
    return rng.standard_normal((size, size), dtype=np.float32)


def branch(rng: np.random.Generator) -> np.random.Generator:
    """A generator of its own, so that what it draws leaves the parent's later draws alone."""
    return np.random.default_rng(rng.integers(2**63))


@lru_cache(maxsize=256)
def _spline(size: int, cells: int) -> Array:
    """Quadratic B-spline weights of each knot at each pixel, (size, cells + 2)."""
    at = (np.arange(size)[:, None] + 0.5) * (cells / size) - (np.arange(cells + 2)[None, :] - 0.5)
    far = np.abs(at)
    weights = np.where(far < 0.5, 0.75 - far**2, np.maximum(1.5 - far, 0.0) ** 2 / 2)
    spline: Array = weights.astype(np.float32)
    spline.flags.writeable = False
    return spline
