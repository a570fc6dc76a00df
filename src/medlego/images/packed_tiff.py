"""TIFF greys of 9 to 15 bits a sample, packed as no installed decoder unpacks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import TiffImagePlugin

from medlego.errors import ImageError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER = 256, 257, 258, 259, 266
_OFFSETS, _COUNTS = 273, 279


def read_tags(path: Path) -> dict[int, Any]:
    """The tags of a TIFF file's first page that are whole numbers; empty for anything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
            if head[:2] not in (b"II", b"MM"):
                return {}
            directory = TiffImagePlugin.ImageFileDirectory_v2(head)
            stream.seek(directory.next)
            directory.load(stream)
            tags = dict(directory)
            return {
                t: v for t, v in tags.items() if _are_whole(v if isinstance(v, tuple) else (v,))
            }
    except (OSError, SyntaxError, TypeError, ValueError, KeyError, EOFError):
        return {}


def _are_whole(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, int) for value in values)


def packed_bits(tags: Mapping[int, Any]) -> int | None:
    """Bits a sample of a page, where they are packed; None elsewhere."""
    bits = tags.get(_BITS, (1,))
    return int(bits[0]) if len(bits) == 1 and 8 < bits[0] < 16 else None


def unpack(path: Path, tags: Mapping[int, Any], bits: int, max_pixels: int) -> np.ndarray:
    """A page's samples, (height, width) uint16, TIFF 6.0 section 3: rows start on whole bytes.

    Raises:
        ImageError: compressed, in tiles, too large or cut short.
    """
    width, height = int(tags.get(_WIDTH, 0)), int(tags.get(_HEIGHT, 0))
    offsets, counts = tags.get(_OFFSETS, ()), tags.get(_COUNTS, ())
    plain = tags.get(_COMPRESSION, 1) == 1 and tags.get(_FILL_ORDER, 1) == 1
    if not plain or not offsets or len(offsets) != len(counts):
        raise ImageError(
            f"{path}: expected {bits}-bit greys in uncompressed strips, got others; convert it to "
            "16 bits"
        )
    if not 1 <= width * height <= max_pixels:
        raise ImageError(
            f"{path}: expected at most {max_pixels:,} pixels, got {width} × {height}; "
            "shrink it first"
        )
    row = -(-width * bits // 8)
    content = bytearray()
    with path.open("rb") as stream:
        for offset, count in zip(offsets, counts, strict=True):
            stream.seek(offset)
            content += stream.read(min(count, row * height - len(content)))
    if len(content) < row * height:
        raise ImageError(
            f"{path}: expected {row * height:,} bytes of pixels, got {len(content):,}; "
            "fetch it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(height, row)
    powers = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)
    samples = np.empty((height, width), np.uint16)
    for number, packed in enumerate(rows):  # row by row: bits take a byte each
        samples[number] = np.unpackbits(packed)[: width * bits].reshape(width, bits) @ powers
    return samples
