"""Stained blood smears with one white cell in the middle, told by its nucleus and granules."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d

from medlego.data.synthetic.canvas import (
    Array,
    branch,
    capsule,
    ellipse,
    grid,
    inside,
    rotate,
    smooth,
)
from medlego.data.synthetic.smear import add_platelets, box, red_cells
from medlego.data.task import Task

TASK = Task(
    name="synthetic-cells",
    kind="multiclass",
    labels=("lymphocyte", "neutrophil", "monocyte", "eosinophil"),
    modality="SM",
    body_part="BLOOD",
)

_STAINS = np.array(
    (
        (0.85, 1.15, 0.40),  # azure: nuclei, basophilic cytoplasm
        (0.12, 0.50, 0.36),  # eosin: red cells
        (0.10, 0.62, 0.80),  # orange: eosinophil granules
    ),
    dtype=np.float32,
)
"""Optical density of each stain in red, green and blue."""


def draw(label: int, size: int, rng: np.random.Generator) -> Array:
    """One field of view, (size, size, 3) RGB in [0, 1].

    `label` is an index into `TASK.labels`.
    """
    finding = branch(rng)
    x, y = grid(size)
    cx, cy = rng.uniform(-0.12, 0.12, 2).tolist()
    radius = rng.uniform(0.42, 0.60)
    stained = np.zeros((3, size, size), dtype=np.float32)
    stained[1] = red_cells(size, (cx, cy), radius, rng)
    add_platelets(stained[0], x, y, rng)
    _add_white_cell(stained, (cx, cy), radius, label, finding)
    stained[0] += 0.03 + 0.01 * smooth(size, rng, 6)
    strength = np.exp(rng.normal(0.0, 0.18, 3))[:, None]
    tint = rng.normal(1.0, 0.10, (3, 3))
    stains = (_STAINS * strength * tint).astype(np.float32)
    light = rng.uniform((0.90, 0.84, 0.86), (1.0, 0.95, 0.98)).astype(np.float32)[:, None, None]
    density = (stains.T @ stained.reshape(3, -1)).reshape(stained.shape)
    image = light * (1.0 + 0.03 * smooth(size, rng, 2)) * np.exp(-density)
    blur = rng.uniform(0.3, 0.9) * size / 64.0
    for axis in (1, 2):
        image = gaussian_filter1d(image, blur, axis=axis, truncate=2.5)
    image += rng.uniform(0.005, 0.03) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(image, 0, -1))


def _add_white_cell(
    stained: Array,
    centre: tuple[float, float],
    radius: float,
    label: int,
    rng: np.random.Generator,
) -> None:
    """Draw the white cell over what is there, in place."""
    size = stained.shape[-1]
    near = box(centre, 1.15 * radius, size)

    def noise(bumps: int) -> Array:
        return smooth(size, rng, bumps)[near]

    x, y = np.broadcast_arrays(*grid(size))
    x, y = x[near] - centre[0], y[near] - centre[1]
    soft, turn = max(0.05, 2.5 / size), rng.uniform(0.0, math.tau)
    membrane = ellipse(x, y, (0.0, 0.0), (radius, radius * rng.uniform(0.86, 1.0)), turn)
    cell = inside(membrane + 0.025 * noise(5), soft)
    shape = _NUCLEI[label](x, y, radius, turn, rng)
    nucleus = np.minimum(inside(shape + 0.012 * noise(8), soft), cell)
    azure, eosin, orange = _CYTOPLASM[label](noise, rng)
    local = stained[:, near[0], near[1]]
    local *= 1.0 - cell
    rest = cell - nucleus
    local[0] += rest * azure + nucleus * rng.uniform(0.95, 1.4) * np.exp(0.14 * noise(11))
    local[1] += rest * eosin + nucleus * rng.uniform(0.1, 0.5)
    local[2] += (rest + 0.15 * nucleus) * orange


_Noise = Callable[[int], Array]
_Amount = Array | float


def _blue(noise: _Noise, rng: np.random.Generator) -> tuple[_Amount, _Amount, _Amount]:
    azure = (1.0 + 0.18 * noise(6)) * rng.uniform(0.18, 0.42)
    return azure, rng.uniform(0.0, 0.2), 0.0


def _pale(noise: _Noise, rng: np.random.Generator) -> tuple[_Amount, _Amount, _Amount]:
    azure = (1.0 + 0.18 * noise(6)) * rng.uniform(0.06, 0.20)
    return azure, (1.0 + 0.25 * noise(28)) * rng.uniform(0.2, 0.5), 0.0


def _vacuolated(noise: _Noise, rng: np.random.Generator) -> tuple[_Amount, _Amount, _Amount]:
    azure = (1.0 + 0.18 * noise(6)) * rng.uniform(0.18, 0.38)
    holes = np.clip(noise(24) - 1.3, 0.0, 0.8)
    return np.maximum(azure - 0.3 * holes, 0.0), rng.uniform(0.05, 0.3), 0.0


def _granular(noise: _Noise, rng: np.random.Generator) -> tuple[_Amount, _Amount, _Amount]:
    azure = (1.0 + 0.18 * noise(6)) * rng.uniform(0.06, 0.16)
    granules = np.clip(0.45 + noise(28), 0.0, 1.4) * rng.uniform(0.3, 0.7)
    return azure, rng.uniform(0.1, 0.3), granules


def _round(x: Array, y: Array, radius: float, turn: float, rng: np.random.Generator) -> Array:
    own = radius * rng.uniform(0.66, 0.84)
    shift = rng.uniform(0.0, 0.9) * (radius - own)
    at = (shift * math.cos(turn), shift * math.sin(turn))
    return ellipse(x, y, at, (own, own * rng.uniform(0.85, 1.0)), turn + rng.normal(0.0, 0.5))


def _lobed(x: Array, y: Array, radius: float, turn: float, rng: np.random.Generator) -> Array:
    return _lobes(x, y, radius, turn, int(rng.integers(3, 6)), rng)


def _bilobed(x: Array, y: Array, radius: float, turn: float, rng: np.random.Generator) -> Array:
    return _lobes(x, y, radius, turn, int(rng.choice((2, 2, 3))), rng)


def _lobes(
    x: Array, y: Array, radius: float, turn: float, count: int, rng: np.random.Generator
) -> Array:
    """Lobes along an arc, joined by thin strands."""
    step = {2: 2.0, 3: 1.55, 4: 1.35, 5: 1.15}[count]
    lobe = radius * {2: 0.42, 3: 0.34, 4: 0.29, 5: 0.25}[count]
    centres, distance = [], np.full_like(x, 9.0)
    for number in range(count):
        angle = turn + (number - (count - 1) / 2) * step + rng.normal(0.0, 0.10)
        reach = radius * rng.uniform(0.42, 0.58)
        at = (reach * math.cos(angle), reach * math.sin(angle))
        own = lobe * rng.uniform(0.88, 1.12)
        body = ellipse(x, y, at, (own * rng.uniform(0.75, 1.0), own), angle)
        distance = np.minimum(distance, body)
        centres.append(at)
    for a, b in pairwise(centres):
        distance = np.minimum(distance, capsule(x, y, a, b) - 0.075 * radius)
    return distance


def _bean(x: Array, y: Array, radius: float, turn: float, rng: np.random.Generator) -> Array:
    """A thick arc: the distance to part of a circle, less half the thickness."""
    bend, half = radius * rng.uniform(0.34, 0.50), rng.uniform(0.75, 1.25)
    thick = radius * rng.uniform(0.27, 0.36)
    u, v = rotate(x, y, turn)
    u, v = u + 0.7 * bend, np.abs(v)
    tip = np.hypot(u - bend * math.cos(half), v - bend * math.sin(half))
    beyond = v * math.cos(half) > u * math.sin(half)
    return np.where(beyond, tip, np.abs(np.hypot(u, v) - bend)) - np.float32(thick)


_NUCLEI = (_round, _lobed, _bean, _bilobed)
_CYTOPLASM = (_blue, _pale, _vacuolated, _granular)
