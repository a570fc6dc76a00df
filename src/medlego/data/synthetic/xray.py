"""Frontal chest radiographs: clear lungs, a hazy focal opacity, a pleural effusion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medlego.data.synthetic.canvas import (
    Array,
    branch,
    capsule,
    ellipse,
    inside,
    posed,
    smooth,
    white,
)
from medlego.data.task import Task

TASK = Task(
    name="synthetic-xray",
    kind="multiclass",
    labels=("clear", "opacity", "effusion"),
    modality="DX",
    body_part="CHEST",
)
CLEAR, OPACITY, EFFUSION = range(3)


@dataclass(frozen=True)
class _Lung:
    """One lung in coordinates where `u` grows from the midline to that side."""

    u: Array
    field: Array
    """How much of a pixel is lung, 0 to 1, (size, size)."""
    wall: float
    """Half width of the chest at the base."""
    base: float
    """Height of the diaphragm's dome."""


def draw(label: int, size: int, rng: np.random.Generator) -> Array:
    """One radiograph, (size, size) in [0, 1], dense tissue bright.

    `label` is an index into `TASK.labels`.
    """
    finding = branch(rng)
    x, y = posed(size, rng, turn=0.05, shift=0.08, zoom=0.07, warp=0.015)
    soft = max(0.05, 2.5 / size)
    wall, top = rng.uniform(0.82, 0.96), rng.uniform(-0.95, -0.80)
    heart = _heart(x, y, rng)
    lungs = [_lung(side, x, y, wall, top, heart, soft, rng) for side in (-1, 1)]
    air = lungs[0].field + lungs[1].field
    haze: Array = np.zeros_like(air)
    if label == OPACITY:
        haze = _opacity(x, y, lungs, finding)
    elif label == EFFUSION:
        haze = _effusion(y, lungs, finding)
    texture = _vessels(x, y, size, rng)
    flank = np.abs(x) - wall - 0.16 - 0.1 * y
    slope = rng.uniform(0.15, 0.4)
    shoulders = inside(-1.05 + slope * np.clip(np.abs(x) - 0.25, 0.0, 1.0) - y, 0.12)
    image = 0.56 * inside(flank, 0.10) * shoulders + 0.08 * inside(-0.45 - y, 0.5)
    image += 0.15 * inside(np.abs(x) - 0.17, 0.18) + 0.12 * inside(heart, 0.22) * (1 - air)
    image -= air * (1 - haze) * rng.uniform(0.34, 0.44)
    image += air * texture * (1 - 0.6 * haze)
    image += _bones(x, y, wall, top, rng) * (0.2 + 0.8 * air * (1 - haze)) * rng.uniform(0.5, 1.0)
    image -= 0.10 * inside(np.abs(x - 0.02) - 0.05, 0.06) * inside(y + 0.42, 0.2)
    image += 0.04 * smooth(size, rng, 3) * shoulders
    return _exposed(image, x, size, rng)


def _heart(x: Array, y: Array, rng: np.random.Generator) -> Array:
    length, low = rng.uniform(0.34, 0.50), rng.uniform(0.20, 0.32)
    ventricle = ellipse(x, y, (0.14, low), (length, 0.27), rng.uniform(0.4, 0.8))
    atrium = ellipse(x, y, (-0.07, low - 0.02), (0.18, 0.26))
    arch = ellipse(x, y, (0.08, -0.26), (rng.uniform(0.10, 0.15), 0.15))
    return np.minimum(np.minimum(ventricle, atrium), arch)


def _lung(
    side: int,
    x: Array,
    y: Array,
    wall: float,
    top: float,
    heart: Array,
    soft: float,
    rng: np.random.Generator,
) -> _Lung:
    u = side * x
    base = rng.uniform(0.32, 0.56) + (0.06 if side > 0 else 0.0)
    middle, height = 0.35, 0.35 - top
    away = np.abs(y - middle) * (1.0 / height)
    outer = wall * np.sqrt(np.maximum(1.0 - away * away * away, 0.0))
    inner = rng.uniform(0.13, 0.19) + 0.10 * np.clip(-0.3 - y, 0.0, 1.0)
    dome = base + rng.uniform(0.5, 1.0) * (u - 0.38) ** 2 * (1 + (u > 0.38))
    distance = np.maximum(np.maximum(u - outer + 0.03, inner - u), y - dome)
    field = inside(distance, soft) * inside(-heart, 2.0 * soft)
    return _Lung(u, field, wall, base)


def _opacity(x: Array, y: Array, lungs: list[_Lung], rng: np.random.Generator) -> Array:
    side = int(rng.integers(2))
    lung = lungs[side]
    v = rng.uniform(-0.45, lung.base - 0.15)
    u = rng.uniform(0.34 if side == 0 or v < 0.0 else 0.5, 0.64)
    radius = rng.uniform(0.13, 0.24)
    centre = ((2 * side - 1) * u, v)
    blob = ellipse(x, y, centre, (radius, radius * rng.uniform(0.7, 1.2)), rng.uniform(0, 3.0))
    ragged = blob + 0.30 * radius * smooth(len(y), rng, 7)
    return rng.uniform(0.5, 0.9) * inside(ragged, radius * rng.uniform(0.9, 1.6))


def _effusion(y: Array, lungs: list[_Lung], rng: np.random.Generator) -> Array:
    lung = lungs[int(rng.integers(2))]
    level = lung.base + rng.uniform(-0.22, 0.0)
    rise = rng.uniform(0.22, 0.42)
    lateral = np.clip(lung.u / lung.wall, 0.0, 1.0)
    surface = level - rise * lateral * lateral * lateral
    depth = inside(surface - y, rng.uniform(0.08, 0.16)) * (lung.u > 0)
    return rng.uniform(0.8, 1.0) * depth


def _vessels(x: Array, y: Array, size: int, rng: np.random.Generator) -> Array:
    hilum = np.exp(-(((np.abs(x) - 0.22) / 0.16) ** 2) - ((y - 0.02) / 0.24) ** 2)
    strands = np.clip(1.0 - 1.6 * np.abs(smooth(size, rng, 12)), 0.0, 1.0)
    spread = np.exp(-(((np.abs(x) - 0.25) / 0.35) ** 2) - ((y - 0.1) / 0.5) ** 2)
    return rng.uniform(0.06, 0.16) * hilum + rng.uniform(0.04, 0.12) * strands * spread


def _bones(x: Array, y: Array, wall: float, top: float, rng: np.random.Generator) -> Array:
    u = np.abs(x) / wall
    spacing, phase = rng.uniform(0.17, 0.22), rng.uniform(0.0, 1.0)
    posterior = y + 0.16 * u - 0.42 * u**2
    anterior = y - 0.45 * (1.0 - u)
    cage = inside(ellipse(x, y, (0.0, 0.3), (wall + 0.06, 0.36 - top)), 0.1)
    ribs = np.clip(np.cos((posterior / spacing + phase) * math.tau) - 0.1, 0.0, 1.0) * 0.14
    front = np.cos((anterior / (1.15 * spacing) + 0.4 - phase) * math.tau)
    ribs += np.clip(front - 0.3, 0.0, 1.0) * 0.06 * (u > 0.35)
    tilt = rng.uniform(0.06, 0.2)
    clavicle = capsule(np.abs(x), y, (0.10, top + 0.22), (0.80, top + 0.22 - tilt))
    spine = inside(np.abs(x) - 0.07, 0.05) * (0.6 + 0.4 * np.cos(y * 34.0))
    bones: Array = ribs * cage + 0.14 * inside(clavicle - 0.045, 0.04) + 0.06 * spine
    return bones


def _exposed(image: Array, x: Array, size: int, rng: np.random.Generator) -> Array:
    image = image * rng.uniform(0.85, 1.2) + rng.uniform(-0.04, 0.10)
    image = image + rng.normal(0.0, 0.04) * x
    image = np.clip(image, 0.0, 1.0) ** rng.uniform(0.8, 1.3)
    return image + rng.uniform(0.01, 0.04) * white(size, rng)
