"""Breast ultrasound: no lesion, a smooth lesion, an irregular (spiculated) lesion."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from medlego.data.synthetic.canvas import Array, branch, ellipse, grid, inside, smooth
from medlego.data.task import Task

TASK = Task(
    name="synthetic-ultrasound",
    kind="multiclass",
    labels=("none", "smooth lesion", "irregular lesion"),
    modality="US",
    body_part="BREAST",
)
NONE, SMOOTH, IRREGULAR = range(3)


def draw(label: int, size: int, rng: np.random.Generator) -> Array:
    """One scan, (size, size) in [0, 1], the probe at the top.

    `label` is an index into `TASK.labels`.
    """
    finding = branch(rng)
    x, y = grid(size)
    echo = _tissue(x, y, size, rng)
    if label != NONE:
        echo = echo * _lesion(x, y, size, label == IRREGULAR, finding)
    depth = (y + 1.0) / 2.0
    shading = -rng.uniform(0.0, 10.0) * depth + rng.uniform(1.0, 4.0) * smooth(size, rng, 2)
    contact = 4.0 * smooth(size, rng, 5, 1) * rng.uniform(0.2, 1.0)
    echo = gaussian_filter1d(echo, rng.uniform(0.5, 1.1) * size / 64.0, axis=1, truncate=3.0)
    level_db = 20.0 * np.log10(echo * _speckle(size, rng) + 0.015) + shading + contact
    range_db = rng.uniform(40.0, 54.0)
    image = 1.0 + (level_db - rng.uniform(4.0, 12.0)) / range_db
    sector: Array = np.clip(image, 0.0, 1.0) * _sector(x, y, rng)
    return sector


def _tissue(x: Array, y: Array, size: int, rng: np.random.Generator) -> Array:
    """Echo amplitude of skin, fat, gland, muscle and what lies below, (size, size)."""
    tilt = rng.normal(0.0, 0.06)
    fat, gland, muscle = rng.uniform(-0.75, -0.35), rng.uniform(0.25, 0.60), rng.uniform(0.2, 0.35)
    level = y + tilt * x + 0.05 * smooth(size, rng, 3)
    glandular = level + 0.07 * smooth(size, rng, 5)
    echo = np.full((size, size), rng.uniform(0.10, 0.20), dtype=np.float32)
    bright = rng.uniform(0.35, 0.60)
    echo += (bright - echo) * inside(fat - glandular, 0.08)
    septa = np.clip(1.0 - 4.0 * np.abs(smooth(size, rng, 4, 7)), 0.0, 1.0)
    echo += 0.35 * septa * inside(glandular - fat, 0.1)
    echo *= np.exp(rng.uniform(0.25, 0.50) * smooth(size, rng, 5, 9))
    strands = 0.22 + 0.12 * np.cos(level * rng.uniform(38.0, 55.0) + smooth(size, rng, 3))
    echo += (strands - echo) * inside(gland - level, 0.05)
    echo += (rng.uniform(0.03, 0.10) - echo) * inside(gland + muscle - level, 0.08)
    for line, width in ((gland, 0.025), (gland + muscle, 0.04)):
        echo += rng.uniform(0.4, 1.0) * inside(np.abs(level - line) - width, 0.04)
    skin = rng.uniform(0.05, 0.11)
    return echo + 0.9 * inside(y + 1.0 - skin + 0.02 * x, 0.04)


def _lesion(x: Array, y: Array, size: int, irregular: bool, rng: np.random.Generator) -> Array:
    """Factor on the echo amplitude: the lesion, its rim and what lies behind it."""
    cx, cy = rng.uniform(-0.5, 0.5), rng.uniform(-0.30, 0.20)
    radius = rng.uniform(0.24, 0.38)
    flat = rng.uniform(0.85, 1.15) if irregular else rng.uniform(0.62, 0.85)
    wide, tall = radius / math.sqrt(flat), radius * math.sqrt(flat)
    border = ellipse(x, y, (cx, cy), (wide, tall), rng.normal(0.0, 0.25))
    angle = np.arctan2(y - cy, x - cx)
    outline = _spikes(rng) if irregular else _lobes(rng)
    turned = ((angle / math.tau + 0.5) * (len(outline) - 1)).astype(np.intp)
    rough = 0.09 if irregular else 0.02
    border = border - radius * (outline[turned] + rough * smooth(size, rng, 8))
    blurred = rng.uniform(0.0, 0.06) if irregular else 0.0
    mass = inside(border, max(0.03, 2.0 / size) + blurred)
    dark = rng.uniform(0.06, 0.22 if irregular else 0.28)
    factor = 1.0 + (dark * np.exp(0.25 * smooth(size, rng, 8)) - 1.0) * mass
    ring = inside(np.abs(border - 0.03) - 0.02, 0.05)
    factor *= 1.0 + ring * rng.uniform(0.2, 1.0)
    behind = inside(np.abs(x - cx) - 0.8 * wide, 0.2 * wide) * inside(cy + 0.8 * tall - y, 0.3)
    behind *= 1.0 - mass
    gain = math.exp(rng.uniform(-1.3, -0.1) if irregular else rng.uniform(-0.1, 0.8))
    return np.asarray(factor * (1.0 + (gain - 1.0) * behind), dtype=np.float32)


def _spikes(rng: np.random.Generator) -> Array:
    """Relative extra radius by angle, (360,): spicules of various length, width and spacing."""
    angles = np.arange(360) * (math.tau / 360)
    count = int(rng.integers(6, 11))
    at = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * (math.tau / count)
    away = np.angle(np.exp(1j * (angles[:, None] - at)))
    peaks = np.exp(-np.abs(away) / rng.uniform(0.08, 0.16, count)) * rng.uniform(0.15, 0.75, count)
    spikes: Array = (peaks.sum(axis=1) - 0.08).astype(np.float32)
    return spikes


def _lobes(rng: np.random.Generator) -> Array:
    """Relative extra radius by angle, (360,): up to three gentle lobes."""
    angles = np.arange(360) * (math.tau / 360)
    depth, phase = rng.uniform(0.0, 0.09), rng.uniform(0.0, math.tau)
    lobes: Array = (depth * np.cos(rng.integers(2, 4) * angles + phase)).astype(np.float32)
    return lobes


def _speckle(size: int, rng: np.random.Generator) -> Array:
    """Amplitude of mean square 1 from two compounded looks, wider across than along the beam."""
    scale = math.sqrt(size / 64.0)
    across, along = rng.uniform(0.8, 1.4) * scale, rng.uniform(0.55, 0.85) * scale
    waves = rng.standard_normal((4, size, size), dtype=np.float32)
    waves = gaussian_filter1d(waves, across, axis=2, mode="wrap", truncate=3.0)
    waves = gaussian_filter1d(waves, along, axis=1, mode="wrap", truncate=3.0)
    power = np.einsum("nyx,nyx->yx", waves, waves)
    amplitude: Array = np.sqrt(power / power.mean())
    return amplitude


def _sector(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Darkening towards the sides; in some scans a trapezoid outside which nothing is shown."""
    edge, opening = rng.uniform(0.75, 1.3), rng.uniform(0.0, 0.3)
    width = edge + opening * (y + 1.0) / 2.0
    fade = 1.0 - rng.uniform(0.0, 0.35) * x**4
    return inside(np.abs(x) - width, 0.06) * fade
