"""Axial brain MRI: no finding, a ring lesion, a solid lesion, atrophy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medlego.data.synthetic.canvas import Array, branch, ellipse, inside, posed, smooth, white
from medlego.data.task import Task

TASK = Task(
    name="synthetic-mri",
    kind="multiclass",
    labels=("none", "ring lesion", "solid lesion", "atrophy"),
    modality="MR",
    body_part="BRAIN",
)
NONE, RING, SOLID, ATROPHY = range(4)


@dataclass(frozen=True)
class _Contrast:
    """Signal of each tissue, as one pulse sequence shows it."""

    scalp: float
    fluid: float
    grey: float
    white: float
    oedema: float
    lesion: float
    core: float


_CONTRASTS = (
    _Contrast(0.85, 0.12, 0.42, 0.58, 0.34, 0.88, 0.20),  # T1 with contrast agent
    _Contrast(0.50, 0.10, 0.55, 0.42, 0.72, 0.90, 0.22),  # FLAIR
    _Contrast(0.50, 0.74, 0.46, 0.30, 0.52, 0.80, 0.16),  # T2
)


def draw(label: int, size: int, rng: np.random.Generator) -> Array:
    """One slice, (size, size) in [0, 1], the forehead at the top.

    `label` is an index into `TASK.labels`.
    """
    finding = branch(rng)
    x, y = posed(size, rng, turn=0.12, shift=0.06, zoom=0.05, warp=0.02)
    tissue = _CONTRASTS[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
    shrink = finding.uniform(0.6, 1.0) if label == ATROPHY else 0.0
    image, brain = _head(x, y, size, tissue, shrink, rng)
    if label in (RING, SOLID):
        image = _with_lesion(image, brain, x, y, tissue, label == RING, finding)
    bias = np.exp(rng.uniform(0.05, 0.22) * smooth(size, rng, 2))
    image = image * bias * rng.uniform(0.8, 1.2)
    sigma = rng.uniform(0.015, 0.06)
    rician = np.hypot(image + sigma * white(size, rng), sigma * white(size, rng))
    return np.asarray(rician ** rng.uniform(0.85, 1.15), dtype=np.float32)


def _head(
    x: Array, y: Array, size: int, tissue: _Contrast, shrink: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """A head without a lesion, and roughly the signed distance to its brain's surface."""
    wide, long = rng.uniform(0.72, 0.80), rng.uniform(0.87, 0.95)
    outline = ellipse(x, y, (0.0, 0.0), (wide, long)) - 0.06 * y * (np.abs(x) - 0.3)
    soft = max(0.03, 2.0 / size)
    scalp, bone = rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.09)
    image = tissue.scalp * rng.uniform(0.6, 1.0) * inside(outline, soft)
    image -= (image - 0.05) * inside(outline + scalp, soft)
    inner = outline + scalp + bone
    image += (tissue.fluid - image) * inside(inner, soft)
    brain = inner + rng.uniform(0.0, 0.02) + 0.07 * shrink
    gyri = np.cos(int(rng.integers(13, 20)) * np.arctan2(x, -y) + 2.8 * smooth(size, rng, 6))
    image += (tissue.grey - image) * inside(brain, soft)
    core = inside(brain + rng.uniform(0.10, 0.14) - 0.05 * gyri, 0.06)
    image += (tissue.white - image) * core
    sulci = np.clip(-0.5 - gyri + 0.4 * shrink, 0.0, 0.5) * (1.5 + 0.4 * shrink)
    rim = inside(brain, soft) * inside(-brain - 0.15 - 0.06 * shrink, 0.10)
    image += (tissue.fluid - image) * np.minimum(sulci * rim, 1.0)
    fissure = inside(np.abs(x) - 0.012 - 0.02 * shrink, 0.05) * inside(0.30 - np.abs(y), 0.2)
    image += (tissue.fluid - image) * 0.7 * fissure * inside(brain, soft)
    nuclei = ellipse(np.abs(x), y, (0.21, 0.06), (0.10, 0.19), 0.3)
    image += (tissue.grey - image) * 0.8 * inside(nuclei, 0.08)
    ventricles = _ventricles(np.abs(x), y, shrink, rng)
    image += (tissue.fluid - image) * inside(ventricles, soft)
    grain = 0.03 * smooth(size, rng, 24) * inside(brain, soft)
    return image + grain, brain


def _ventricles(side: Array, y: Array, shrink: float, rng: np.random.Generator) -> Array:
    """Roughly the signed distance to the lateral and third ventricles."""
    size = rng.uniform(0.75, 1.15) * (1.0 + 0.75 * shrink)
    front = ellipse(side, y, (0.02 + 0.07 * size, -0.20), (0.055 * size, 0.16 * size**0.5), -0.35)
    back = ellipse(side, y, (0.06 + 0.10 * size, 0.30), (0.055 * size, 0.17 * size**0.5), 0.45)
    third = ellipse(side, y, (0.0, 0.08), (0.025 * size, 0.10))
    body = ellipse(side, y, (0.09, 0.02), (0.06 * size, 0.32))
    horns = np.minimum(front, back)
    return np.minimum(horns, body if rng.random() < 0.4 else third)


def _with_lesion(
    image: Array,
    brain: Array,
    x: Array,
    y: Array,
    tissue: _Contrast,
    ring: bool,
    rng: np.random.Generator,
) -> Array:
    size = len(y)
    side, place = rng.choice((-1.0, 1.0)), rng.uniform(-0.45, 0.45)
    centre = (float(side) * rng.uniform(0.20, 0.40), place)
    radius = rng.uniform(0.14, 0.22)
    shape = ellipse(x, y, centre, (radius, radius * rng.uniform(0.75, 1.0)), rng.uniform(0, 3.0))
    shape = np.maximum(shape + 0.022 * smooth(size, rng, 7), brain + 0.03)
    swelling = inside(shape - rng.uniform(0.04, 0.14), 0.10) * inside(brain, 0.05)
    image = image + (tissue.oedema - image) * swelling * rng.uniform(0.4, 0.9)
    soft = max(0.03, 2.0 / size)
    bright = tissue.lesion * rng.uniform(0.80, 1.05)
    image = image + (bright - image) * inside(shape, soft)
    thickness = radius * rng.uniform(0.32, 0.42)
    hollow = inside(shape + thickness, soft)
    mottled = bright + 0.05 * smooth(size, rng, 10)
    return np.asarray(image + ((tissue.core if ring else mottled) - image) * hollow)
