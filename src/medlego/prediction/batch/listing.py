"""A job's images held in a file, so that any number of them takes no memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from medlego.prediction.batch.sources import ListedImage
from medlego.support import Progress, put_in_place, silent

_SHOWN_EVERY = 1000

PartRows = tuple[int, bytes]
"""A part's number and its rows as a Parquet file."""


@dataclass(frozen=True)
class JobPart:
    """Some of a job's images in a row: `names` below the root, the first at `start` of all."""

    number: int
    start: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Images in their order, `part_images` to a part, the last part with what is left.

    `sha256` covers names, sizes and times of change. `offsets` are the parts' places in the file.
    """

    file: Path
    part_images: int
    images: int
    sha256: str
    offsets: tuple[int, ...]

    def part(self, number: int) -> JobPart:
        """One part, read from the file."""
        start = number * self.part_images
        with self.file.open("rb") as stream:
            stream.seek(self.offsets[number])
            lines = list(islice(stream, self.span(number)))
        return JobPart(number, start, tuple(json.loads(line)[0] for line in lines))

    def span(self, number: int) -> int:
        """How many images a part has."""
        return min(self.part_images, self.images - number * self.part_images)


def write_listing(
    images: Iterator[ListedImage], file: Path, part_images: int, show: Progress = silent
) -> Listing:
    """Write down every image, whole or not at all."""
    digest, offsets, count, place = hashlib.sha256(), [], 0, 0
    scratch = file.with_name(f"{file.name}.new")
    with scratch.open("wb") as stream:
        for image in images:
            line = json.dumps([image.name, image.size, image.changed_ns]).encode() + b"\n"
            if count % part_images == 0:
                offsets.append(place)
            if count % _SHOWN_EVERY == 0:
                show("looking for images", count, 0)
            stream.write(line)
            digest.update(line)
            count, place = count + 1, place + len(line)
    put_in_place(scratch, file)
    return Listing(file, part_images, count, digest.hexdigest(), tuple(offsets))
