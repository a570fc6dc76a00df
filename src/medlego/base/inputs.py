"""Images of a split as network inputs: decoded once and held while they fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from medlego.base.base import Base
from medlego.data import ImageSource, Samples
from medlego.errors import ImageError
from medlego.images import by_subject, warning_notes
from medlego.support import Progress, silent

BATCH = 64
"""Images that pass through a base together, unless something else is asked for."""
MEMORY_BYTES = 4 << 30
"""Splits whose inputs take more than this are decoded anew each time they are read."""
LEFT_OUT = "cannot be read, left out"
"""What `Inputs.mended` calls images that are skipped."""


class Inputs:
    """The inputs of one split, (n, 3, size, size) float32 in [0, 1], before normalisation.

    With `skip`, images that cannot be read are left out, and `rows` are the places of the others;
    every image is then decoded once at the start, even if not all are kept.
    """

    def __init__(
        self,
        images: ImageSource,
        base: Base,
        *,
        skip: bool = False,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._images, self._base = images, base
        self._warnings: dict[int, tuple[str, ...]] = {}
        self._unread: dict[int, ImageError] = {}
        self._decoded: Tensor | None = None
        self.rows = np.arange(len(images))
        if len(images) * 3 * base.ref.image_size**2 * 4 <= memory_bytes:
            self._decoded = self._decode(self.rows, skip=skip)
        elif skip:
            for start in range(0, len(images), BATCH):
                self._decode(self.rows[start : start + BATCH], skip=True)
        if self._unread:
            self.rows = np.delete(self.rows, list(self._unread))
            if not len(self.rows):
                raise self._unread[0]
            if self._decoded is not None:
                self._decoded = self._decoded[torch.from_numpy(self.rows)]

    @classmethod
    def of(cls, samples: Samples, base: Base) -> tuple[Samples, Inputs]:
        """The samples whose images can be read, with their inputs.

        Raises:
            ImageError: none of them can.
        """
        inputs = cls(samples.images, base, skip=True)
        return samples.take(inputs.rows) if inputs._unread else samples, inputs

    def __len__(self) -> int:
        return len(self.rows)

    def notes(self) -> tuple[str, ...]:
        """What reading the images so far had to mend or to leave out, for people to see."""
        count = len(self._images)
        left_out = [
            f"{len(self._unread)} of {count} images {LEFT_OUT}: {error}"
            for error in list(self._unread.values())[:1]
        ]
        return (*left_out, *warning_notes(self._warnings.values(), count))

    def mended(self) -> dict[str, int]:
        """Images so far by what reading them had to mend."""
        subjects = by_subject(self._warnings.values()).items()
        left_out = {LEFT_OUT: len(self._unread)} if self._unread else {}
        return left_out | {about: len(texts) for about, texts in subjects}

    def take(self, indices: Sequence[int]) -> Tensor:
        """The inputs at `indices`, in that order."""
        if self._decoded is not None:
            return self._decoded[torch.as_tensor(indices)]
        return self._decode(self.rows[indices])

    def batches(
        self, size: int = BATCH, show: Progress = silent, what: str = ""
    ) -> Iterator[Tensor]:
        """All inputs in order, at most `size` at a time; `show` is called before each batch."""
        for start in range(0, len(self), size):
            show(what, start, len(self))
            yield self.take(range(start, min(start + size, len(self))))

    def _decode(self, indices: np.ndarray, *, skip: bool = False) -> Tensor:
        side = self._base.ref.image_size
        result = torch.empty(len(indices), 3, side, side)

        def fill(position: int) -> None:
            index = int(indices[position])
            try:
                image = self._images[index]
            except ImageError as error:
                if not skip:
                    raise
                self._unread[index] = error
                return
            if image.warnings:
                self._warnings[index] = image.warnings
            result[position] = self._base.prepare(image)

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(fill, range(len(indices))):
                pass
        return result
