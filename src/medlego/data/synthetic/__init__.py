"""Procedural images that look like four medical modalities, for demos and pretraining.

No patient is behind any of them, and no accuracy on them says anything about real images.
The label changes only the finding: with equal generators, two labels share the anatomy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from medlego.data.samples import SPLITS, ArrayImages, Dataset, Samples
from medlego.data.synthetic.canvas import Array
from medlego.data.synthetic.modalities import MODALITIES
from medlego.data.task import Task
from medlego.errors import DatasetError

__all__ = ["SYNTHETIC_TASKS", "synthetic_dataset", "synthetic_image"]

MIN_SIZE, MAX_SIZE = 32, 512

_Draw = Callable[[int, int, np.random.Generator], Array]
_DRAW: Mapping[str, _Draw] = {module.TASK.name: module.draw for module in MODALITIES}

SYNTHETIC_TASKS: Mapping[str, Task] = MappingProxyType(
    {module.TASK.name: module.TASK for module in MODALITIES}
)
"""The four tasks by name."""


def synthetic_dataset(
    name: str, *, size: int = 64, counts: tuple[int, int, int] = (160, 40, 100), seed: int = 0
) -> Dataset:
    """Draw one synthetic task.

    Args:
        name: a key of `SYNTHETIC_TASKS`.
        size: height and width, 32 to 512 pixels.
        counts: images in train, val and test, each at least the number of labels; labels
            occur equally often, give or take one.
        seed: random seed, not negative; images are reproducible.

    Returns:
        The data set; each split holds uint8 (N, size, size), or (N, size, size, 3) for cells.

    Raises:
        DatasetError: unknown name, or size, counts or seed out of range.
    """
    task = _task(name)
    _check_size(size)
    if len(counts) != len(SPLITS) or min(counts) < len(task.labels):
        raise DatasetError(
            f"counts: expected {len(SPLITS)} numbers of at least {len(task.labels)} "
            f"(one image per label of {name}), got {counts}; raise the small ones"
        )
    if seed < 0:
        raise DatasetError(f"seed: expected 0 or more, got {seed}; choose another")
    number = tuple(SYNTHETIC_TASKS).index(name)
    train, val, test = (
        _samples(task, size, count, np.random.SeedSequence((seed, number, split)))
        for split, count in enumerate(counts)
    )
    notes = ("synthetic: drawn by medlego, no patient's images",)
    return Dataset(task, train, val, test, notes)


def synthetic_image(name: str, label: int, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one image.

    Args:
        name: a key of `SYNTHETIC_TASKS`.
        label: index into the task's labels.
        size: height and width, 32 to 512 pixels.
        rng: the only source of chance; it is advanced.

    Returns:
        uint8 (size, size), or (size, size, 3) RGB for cells.

    Raises:
        DatasetError: unknown name, or label or size out of range.
    """
    task = _task(name)
    _check_size(size)
    if not 0 <= label < len(task.labels):
        raise DatasetError(
            f"label: expected 0 to {len(task.labels) - 1} for {name}, got {label}; "
            "give an index into the task's labels"
        )
    values = _DRAW[name](label, size, rng)
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _samples(task: Task, size: int, count: int, seeds: np.random.SeedSequence) -> Samples:
    order, *own = seeds.spawn(count + 1)
    labels = np.arange(count, dtype=np.int64) % len(task.labels)
    labels = np.random.default_rng(order).permutation(labels)
    images = [
        synthetic_image(task.name, int(label), size=size, rng=np.random.default_rng(source))
        for label, source in zip(labels, own, strict=True)
    ]
    return Samples(ArrayImages(np.stack(images)), labels)


def _task(name: str) -> Task:
    try:
        return SYNTHETIC_TASKS[name]
    except KeyError:
        raise DatasetError(
            f"synthetic task: expected one of {', '.join(SYNTHETIC_TASKS)}, got {name!r}; "
            "choose one of these"
        ) from None


def _check_size(size: int) -> None:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DatasetError(
            f"size: expected {MIN_SIZE} to {MAX_SIZE} pixels, got {size}; choose a size in between"
        )
