"""The images whose activations merge-aware training weighs against each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from medlego.base import Base
from medlego.loading import Inputs
from medlego.synthetic import stranger_images
from medlego.task import Task

IMAGES = 384
BATCH = 64


def some_batches(inputs: Inputs) -> Iterator[Tensor]:
    """At most `IMAGES` of them, evenly spread."""
    count = min(IMAGES, len(inputs))
    chosen = torch.linspace(0, len(inputs) - 1, count).long().tolist()
    for start in range(0, count, BATCH):
        yield inputs.take(chosen[start : start + BATCH])


def procedural_batches(base: Base, task: Task) -> Iterator[Tensor]:
    """`IMAGES` procedural images of other modalities than a task's, at the base's input size."""
    images = stranger_images(IMAGES, size=base.ref.image_size, without=task.modality)
    yield from Inputs(images, base).batches(BATCH)
