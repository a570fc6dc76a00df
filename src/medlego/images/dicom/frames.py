"""The bytes of one frame, wherever the pixel element keeps them."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from pydicom.encaps import get_frame

from medlego.errors import ImageError
from medlego.images.dicom.elements import Elements
from medlego.images.dicom.layout import Layout
from medlego.images.dicom.parsing import Parsed
from medlego.images.dicom.stream import Stream

UNDEFINED = 0xFFFFFFFF
FRAME_KEYWORDS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")

MAX_CODESTREAM_BYTES = 1 << 29
"""Longest compressed frame that is handed to a codec."""

_REAL_TAGS = {0x7FE00008: 32, 0x7FE00009: 64}


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel element's value lies: `length` is `UNDEFINED` where it is encapsulated."""

    tag: int
    vr: str
    start: int
    length: int

    @property
    def real_bits(self) -> int | None:
        """Width of its floating-point values, None where they are integers."""
        return _REAL_TAGS.get(self.tag)


def pixel_element(file: Parsed) -> PixelElement:
    """The pixel element of a parsed file.

    Raises:
        ImageError: there is none, or its own header is cut short.
    """
    if file.pixels_at is None:
        raise ImageError(
            f"{file.path}: expected pixel data, got none; reports, plans and directories are "
            "no images"
        )
    head = file.stream.slice(file.pixels_at, 12)
    order = "<" if file.little else ">"
    explicit = head[4:6].isalpha() and not file.implicit
    if len(head) < 12:
        raise ImageError(f"{file.path}: expected pixel data, got an empty element; fetch it again")
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag = group << 16 | element
    if explicit:
        (length,) = struct.unpack(f"{order}L", head[8:12])
        return PixelElement(tag, head[4:6].decode("latin-1"), file.pixels_at + 12, length)
    (length,) = struct.unpack(f"{order}L", head[4:8])
    return PixelElement(tag, "OW", file.pixels_at + 8, length)


def native_frame(file: Parsed, element: PixelElement, layout: Layout, frame: int) -> bytes:
    """One uncompressed frame, with the bits before it in its first byte where it has 1-bit pixels.

    Raises:
        ImageError: fewer bytes than all frames of the header take.
    """
    bits = layout.frame_bits
    first, last = frame * bits // 8, -(-(frame + 1) * bits // 8)
    first -= first % 2 if _swapped(file, element, layout) else 0
    last += last % 2 if _swapped(file, element, layout) else 0
    there = min(element.length, max(0, file.stream.size - element.start))
    whole = -(-layout.frames * bits // 8)
    if element.length == UNDEFINED or whole > there:
        got = "compressed ones" if element.length == UNDEFINED else f"{there:,}"
        raise ImageError(
            f"{file.path}: expected {whole:,} bytes of uncompressed pixels, got {got}; "
            "fetch it again"
        )
    content = file.stream.slice(element.start + first, last - first)
    if not _swapped(file, element, layout):
        return content
    pairs = bytearray(len(content))
    pairs[::2], pairs[1::2] = content[1::2], content[::2]
    odd = frame * bits // 8 % 2
    return bytes(pairs[odd : odd + bits // 8])


def _swapped(file: Parsed, element: PixelElement, layout: Layout) -> bool:
    """Whether 8-bit pixels lie as 16-bit words of a big-endian file, PS3.5 section 8.1.1."""
    return not file.little and element.vr == "OW" and layout.allocated == 8


def compressed_frame(file: Parsed, element: PixelElement, layout: Layout, frame: int) -> bytes:
    """One frame's codestream.

    Raises:
        ImageError: not encapsulated, no such frame, damaged tables, or too long.
    """
    if element.length != UNDEFINED:
        raise ImageError(
            f"{file.path}: expected compressed pixels as {file.syntax.name} says, got "
            "uncompressed ones; correct the transfer syntax"
        )
    stream = file.stream.fresh(MAX_CODESTREAM_BYTES)
    stream.seek(element.start)
    try:
        _check_whole(stream)
        content = get_frame(
            stream,
            frame,
            number_of_frames=layout.frames,
            extended_offsets=_extended(file.elements),
        )
    except Exception:  # whatever damaged fragments make of pydicom's parser
        too_long = "; it is longer than any that is decoded" if stream.spent else ""
        raise ImageError(
            f"{file.path}: expected frame {frame + 1} of {layout.frames} among the compressed "
            f"pixels, got ones that are cut short or damaged{too_long}; fetch it again"
        ) from None
    return content


def _check_whole(stream: Stream) -> None:
    """Walk over the fragments to their delimiter, which a file that is cut short lacks.

    Raises:
        ValueError, struct.error, OverBudgetError: there is none, or there are too many fragments.
    """
    start = stream.tell()
    while True:
        group, element, length = struct.unpack("<HHL", stream.read(8))
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or stream.tell() + length > stream.size:
            raise ValueError("no whole fragment")
        stream.seek(length, os.SEEK_CUR)
    stream.seek(start)


def _extended(elements: Elements) -> tuple[bytes, bytes] | None:
    offsets, lengths = (elements.raw(keyword) for keyword in FRAME_KEYWORDS)
    if offsets and lengths and len(offsets) == len(lengths):
        return offsets, lengths
    return None
