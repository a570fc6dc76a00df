"""What a leak check holds of a data set's images while it runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from medlego.data.leaks.descriptors import SIDE, thumbnail
from medlego.data.samples import SPLITS, Dataset, FileImages, ImageSource, Samples
from medlego.errors import ImageError
from medlego.images import Image, warning_notes
from medlego.support import Progress, ShortRepr, silent


@dataclass(frozen=True, repr=False)
class ImagePlace(ShortRepr):
    """Where an image is: data set, split, position in the split, and file where it has one."""

    data: str = field(repr=False)
    split: str
    index: int
    file: str | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Fingerprints(ShortRepr):
    """A data set's images in short: n places, and (n, …) of what they are compared by.

    `pixels` are SHA-256 digests; `patients` ids, empty where unknown; `answers` says of each of
    `labels` whether it is present (1), absent (0) or unknown (NaN), (n, labels) float32;
    `thumbnails` (n, SIDE, SIDE) uint8; `notes` say what reading had to mend or to
    leave out.
    """

    name: str = field(repr=False)
    labels: tuple[str, ...]
    places: tuple[ImagePlace, ...]
    pixels: tuple[bytes, ...]
    patients: tuple[str, ...]
    answers: np.ndarray
    thumbnails: Tensor
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        dataset: Dataset,
        *,
        splits: Sequence[str] = SPLITS,
        show: Progress = silent,
    ) -> Fingerprints:
        """Read every image of some splits once; those that cannot be read stand in the notes."""
        places: list[ImagePlace] = []
        patients: list[str] = []
        pixels: list[bytes] = []
        warnings: list[tuple[str, ...]] = []
        unread: list[str] = []
        answers, thumbnails = [], []
        task, total = dataset.task, sum(len(dataset.split(split)) for split in splits)
        for split in splits:
            samples = dataset.split(split)
            rows = []
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                outcomes = pool.map(partial(_read, samples.images), range(len(samples)))
                for row, outcome in enumerate(outcomes):
                    show(f"reading {name}", len(pixels) + len(unread), total)
                    if isinstance(outcome, ImageError):
                        unread.append(f"{split}: left out, cannot be read: {outcome}")
                        continue
                    digest, small, own = outcome
                    rows.append(row)
                    pixels.append(digest)
                    thumbnails.append(small)
                    warnings += [own] if own else []
            ids = samples.patients
            places += _places(name, split, samples, rows)
            patients += ["" if ids is None else str(ids[row]) for row in rows]
            answers.append(task.rules.matrix(samples.labels[rows]))
        small = torch.stack(thumbnails) if thumbnails else torch.empty(0, SIDE, SIDE)
        return cls(
            name,
            task.labels,
            tuple(places),
            tuple(pixels),
            tuple(patients),
            np.concatenate(answers),
            small.to(torch.uint8),
            (*unread, *warning_notes(warnings, total)),
        )

    def __len__(self) -> int:
        return len(self.places)


def pixel_digest(image: Image) -> bytes:
    """SHA-256 of an image's size and 16-bit pixels.

    The same for one picture stored as grey or as equal red, green and blue, with 8 or 16 bit.
    """
    pixels = image.pixels
    if len(pixels) == 3 and bool((pixels[0] == pixels[1]).all() & (pixels[0] == pixels[2]).all()):
        pixels = pixels[:1]
    values = (pixels * 65535.0).round().to(torch.int32).numpy().astype("<u2")
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).digest()


def _read(images: ImageSource, index: int) -> tuple[bytes, Tensor, tuple[str, ...]] | ImageError:
    try:
        image = images[index]
    except ImageError as error:
        return error
    return pixel_digest(image), thumbnail(image), image.warnings


def _places(name: str, split: str, samples: Samples, rows: Sequence[int]) -> list[ImagePlace]:
    files = samples.images.paths if isinstance(samples.images, FileImages) else None
    return [ImagePlace(name, split, i, None if files is None else str(files[i])) for i in rows]
