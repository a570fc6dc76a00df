"""Procedural tasks whose bricks make a merge larger than five real ones can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medlego.data import SYNTHETIC_TASKS, ArrayImages, Dataset, Samples, synthetic_dataset

COUNT = 15
PREFIX = "procedural-"
NAMES = tuple(f"{PREFIX}{number}" for number in range(COUNT))
EPOCHS = 12
"""120 steps: the tasks are easy, and only what their deltas do to others is measured."""


def is_procedural(name: str) -> bool:
    """Whether the name is one of `NAMES`."""
    return name in NAMES


def dataset(name: str) -> Dataset:
    """A synthetic task in two colours of its own, 96 px; its images' seed is its number."""
    number = int(name.removeprefix(PREFIX))
    kind = list(SYNTHETIC_TASKS)[number % len(SYNTHETIC_TASKS)]
    drawn = synthetic_dataset(kind, size=96, counts=(320, 64, 8), seed=number)
    low, high = np.random.default_rng(number).uniform(0, 255, (2, 3))
    parts = {
        split: _recoloured(drawn.split(split), low, high) for split in ("train", "val", "test")
    }
    return Dataset.of(drawn.task.model_copy(update={"name": name}), parts, drawn.notes)


def pixels(name: str) -> np.ndarray:
    """The training images of a task, (images, 96, 96, 3), uint8."""
    images = dataset(name).train.images
    assert isinstance(images, ArrayImages)
    return images.array


def _recoloured(samples: Samples, low: np.ndarray, high: np.ndarray) -> Samples:
    assert isinstance(samples.images, ArrayImages)
    grey = samples.images.array / 255
    if grey.ndim == 3:
        grey = grey[..., None].repeat(3, axis=3)
    coloured = (low + (high - low) * grey + 0.5).astype(np.uint8)
    return replace(samples, images=ArrayImages(coloured))
