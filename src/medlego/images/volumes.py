"""NIfTI and Analyze volumes as files: one, or a header beside its voxels."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from medlego.errors import ImageError

NIFTI_1, NIFTI_2, ANALYZE = "NIfTI", "NIfTI-2", "Analyze"

_HEAD_BYTES = 352
_GZIP = b"\x1f\x8b"
_SINGLE = {(344, b"n+1\0"): NIFTI_1, (4, b"n+2\0\r\n\x1a\n"): NIFTI_2}
_PAIR = {(344, b"ni1\0"): NIFTI_1, (4, b"ni2\0\r\n\x1a\n"): NIFTI_2}
_ANALYZE_SIZES = (struct.pack("<L", 348), struct.pack(">L", 348))
_HEADER_NAMES, _VOXEL_NAMES = (".hdr", ".hdr.gz"), (".img", ".img.gz")


@dataclass(frozen=True)
class Volume:
    """Where a volume's header and its voxels lie, often in one file, and its format."""

    header: Path
    voxels: Path
    kind: str


def find_volume(path: Path) -> Volume | None:
    """The volume that a file holds alone, or as one of two; None where it is none.

    A file is the header of two by its content and name, and the voxels by name and its header.

    Raises:
        ImageError: a header without voxels beside it.
    """
    head = _head(path)
    if kind := _kind(head, _SINGLE):
        return Volume(path, path, kind)
    if header := _partner(path, _VOXEL_NAMES, _HEADER_NAMES):
        kind = _pair_kind(_head(header))
        return Volume(header, path, kind) if kind else None
    if not (is_header(path) and (kind := _pair_kind(head))):
        return None
    if voxels := _partner(path, _HEADER_NAMES, _VOXEL_NAMES):
        return Volume(path, voxels, kind)
    raise ImageError(
        f"{path}: expected its voxels {_renamed(path, _HEADER_NAMES, '.img')} beside it, found "
        "none; put both files into one folder"
    )


def check_header(path: Path) -> None:
    """Say of voxels which header they lack.

    Raises:
        ImageError: named as voxels, without a header beside them.
    """
    if path.name.lower().endswith(_VOXEL_NAMES) and not is_voxels(path):
        raise ImageError(
            f"{path}: expected its header {_renamed(path, _VOXEL_NAMES, '.hdr')} beside it, found "
            "none; put both files into one folder"
        )


def is_header(path: Path) -> bool:
    """Whether a file is the header of voxels beside it, or ought to be."""
    return path.name.lower().endswith(_HEADER_NAMES) and bool(_pair_kind(_head(path)))


def is_voxels(path: Path) -> bool:
    """Whether a file's header lies beside it, so that the two are one image."""
    header = _partner(path, _VOXEL_NAMES, _HEADER_NAMES)
    return header is not None and is_header(header)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's content, inflated where it is gzipped."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file


def _head(path: Path) -> bytes:
    """A file's first bytes, inflated; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if not head.startswith(_GZIP):
            return head
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, _HEAD_BYTES)
    except (OSError, zlib.error):
        return b""


def _kind(head: bytes, magics: dict[tuple[int, bytes], str]) -> str | None:
    return next((kind for (at, magic), kind in magics.items() if head.startswith(magic, at)), None)


def _pair_kind(head: bytes) -> str | None:
    analyze = ANALYZE if len(head) >= 348 and head.startswith(_ANALYZE_SIZES) else None
    return _kind(head, _PAIR) or analyze


def _partner(path: Path, own: tuple[str, ...], others: tuple[str, ...]) -> Path | None:
    """The other file of a pair, None where the name is none of `own` or nothing is there."""
    if not path.name.lower().endswith(own):
        return None
    zipped = path.name.lower().endswith(".gz")
    alike = sorted(others, key=lambda other: other.endswith(".gz") != zipped)
    names = (_renamed(path, own, each) for other in alike for each in (other, other.upper()))
    paths = (path.with_name(name) for name in names)
    return next((path for path in paths if path.is_file()), None)


def _renamed(path: Path, own: tuple[str, ...], other: str) -> str:
    ending = next(each for each in reversed(own) if path.name.lower().endswith(each))
    return path.name[: -len(ending)] + other
