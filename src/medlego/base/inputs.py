"""Images of a split as network inputs: decoded once and held while they fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from medlego.base.base import Base
from medlego.data import ImageSource
from medlego.images import by_subject, warning_notes
from medlego.support import Progress, silent

BATCH = 64
"""Images that pass through a base together, unless something else is asked for."""
MEMORY_BYTES = 4 << 30
"""Splits whose inputs take more than this are decoded anew each time they are read."""


class Inputs:
    """The inputs of one split, (n, 3, size, size) float32 in [0, 1], before normalisation."""

    def __init__(
        self, images: ImageSource, base: Base, *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._images, self._base = images, base
        self._warnings: dict[int, tuple[str, ...]] = {}
        self._decoded: Tensor | None = None
        if len(images) * 3 * base.ref.image_size**2 * 4 <= memory_bytes:
            self._decoded = self._decode(range(len(images)))

    def __len__(self) -> int:
        return len(self._images)

    def notes(self) -> tuple[str, ...]:
        """What reading the images so far had to mend, for people to see."""
        return warning_notes(self._warnings.values(), len(self))

    def mended(self) -> dict[str, int]:
        """Images so far by what reading them had to mend."""
        return {about: len(texts) for about, texts in by_subject(self._warnings.values()).items()}

    def take(self, indices: Sequence[int]) -> Tensor:
        """The inputs at `indices`, in that order."""
        if self._decoded is not None:
            return self._decoded[torch.as_tensor(indices)]
        return self._decode(indices)

    def batches(
        self, size: int = BATCH, show: Progress = silent, what: str = ""
    ) -> Iterator[Tensor]:
        """All inputs in order, at most `size` at a time; `show` is called before each batch."""
        for start in range(0, len(self), size):
            show(what, start, len(self))
            yield self.take(range(start, min(start + size, len(self))))

    def _decode(self, indices: Sequence[int]) -> Tensor:
        side = self._base.ref.image_size
        result = torch.empty(len(indices), 3, side, side)

        def fill(position: int) -> None:
            image = self._images[indices[position]]
            if image.warnings:
                self._warnings[indices[position]] = image.warnings
            result[position] = self._base.prepare(image)

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(fill, range(len(indices))):
                pass
        return result
