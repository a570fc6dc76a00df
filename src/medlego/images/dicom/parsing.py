"""A DICOM file's elements before its pixels, parsed within a budget."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from medlego.errors import ImageError
from medlego.images.dicom.elements import Elements
from medlego.images.dicom.silence import quietly
from medlego.images.dicom.sniffing import HEAD_BYTES, has_prefix, program_in_preamble, starts_bare
from medlego.images.dicom.stream import OverBudgetError, Stream

MAX_INFLATED_BYTES = 1 << 29
"""Largest data set that a deflated file may become."""

_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


@dataclass(frozen=True, eq=False)
class Parsed:
    """A data set up to its pixels.

    `pixels_at` is where the pixel element starts in `stream`, None where there is none.
    """

    path: Path
    elements: Elements
    meta: Elements
    syntax: uid.UID
    implicit: bool
    little: bool
    stream: Stream
    pixels_at: int | None


@contextmanager
def parsed(path: Path, keywords: Sequence[str]) -> Iterator[Parsed]:
    """Open a DICOM file and parse the elements named; the file is closed on leaving.

    Args:
        path: a file with or without preamble and meta information.
        keywords: the elements wanted, as PS3.6 names them; others are stepped over.

    Raises:
        ImageError: missing, not DICOM, a program as well, or not to be parsed within the budget.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: expected an image file, found nothing there") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image file, got a folder") from None
    except OSError as error:
        raise ImageError(f"{path}: expected a readable file, got {error.strerror}") from None
    with file:
        stream = Stream(file)
        try:
            with quietly():
                result = _parse(path, stream, [Tag(keyword) for keyword in keywords])
        except ImageError:
            raise
        except Exception as error:  # pydicom lets struct, zlib, Unicode and other errors through
            raise ImageError(f"{path}: {_why(error, stream)}") from None
        yield result


def _parse(path: Path, stream: Stream, tags: list[BaseTag | int]) -> Parsed:
    head = stream.read(HEAD_BYTES)
    if kind := program_in_preamble(head):
        raise ImageError(
            f"{path}: expected a preamble that starts no program, got {kind}; have the file "
            "checked, then overwrite its first 128 bytes with zeros"
        )
    if not has_prefix(head) and not starts_bare(head):
        raise ImageError(f"{path}: expected a DICOM file, got something else; check the path")
    stream.seek(HEAD_BYTES if has_prefix(head) else 0)
    meta = _group(stream, 0x0002, implicit=False)
    _group(stream, 0x0000, implicit=True)
    syntax = uid.UID(str(meta.get("TransferSyntaxUID") or ""))
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        stream = Stream(BytesIO(_inflated(path, stream)))
    implicit, little = _encoding(stream, syntax)
    elements = Elements.read(
        stream, implicit, little, tags=[*tags, *_CHARSET], stop_when=_at_pixels
    )
    if stream.spent:
        raise ImageError(f"{path}: {_why(OverflowError(), stream)}")
    at = stream.tell()
    has_pixels = _tag_at(stream.slice(at, 4), little) in _PIXEL_TAGS
    return Parsed(
        path,
        elements,
        Elements(meta, False, True),
        syntax or _guessed(elements.implicit, little),
        elements.implicit,
        little,
        stream,
        at if has_pixels else None,
    )


_CHARSET = [Tag("SpecificCharacterSet")]


def _group(stream: Stream, group: int, *, implicit: bool) -> Dataset:
    def elsewhere(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 != group

    return read_dataset(stream, implicit, True, stop_when=elsewhere)


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in _PIXEL_TAGS


def _encoding(stream: Stream, syntax: uid.UID) -> tuple[bool, bool]:
    """Implicit VR and little endian, as stated or, without a statement, as the bytes look."""
    if syntax:
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    start = stream.slice(stream.tell(), 8)
    stream.seek(-len(start), 1)
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return not explicit, not (explicit and start[:1] == b"\0")


def _guessed(implicit: bool, little: bool) -> uid.UID:
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _tag_at(content: bytes, little: bool) -> int:
    if len(content) < 4:
        return 0
    group, element = struct.unpack("<HH" if little else ">HH", content)
    return int(group) << 16 | int(element)


def _inflated(path: Path, stream: Stream) -> bytes:
    start = stream.tell()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(stream.slice(start, stream.size), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ImageError(
            f"{path}: expected at most {MAX_INFLATED_BYTES:,} bytes after inflating, got more; "
            "inflate it with dcmconv +te"
        )
    return content


def _why(error: Exception, stream: Stream) -> str:
    if stream.spent or isinstance(error, OverBudgetError):
        return (
            "expected a header of ordinary size, got one of too many elements or bytes; leave out "
            "what is private with dcmodify --erase-private"
        )
    if isinstance(error, RecursionError):
        return (
            "expected sequences nested a few levels deep, got one far deeper; do not trust the file"
        )
    kind = type(error).__name__
    return (
        f"expected whole DICOM elements, got ones that cannot be parsed ({kind}); fetch it again, "
        "or write it anew with dcmconv"
    )
