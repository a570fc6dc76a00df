"""The bytes of one frame, wherever the pixel element keeps them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medlego.errors import ImageError
from medlego.images.dicom.layout import Layout
from medlego.images.dicom.parsing import Parsed
from medlego.images.dicom.sequences import UNDEFINED
from medlego.images.dicom.stream import OverBudgetError, Stream
from medlego.images.dicom.tables import swapped
from medlego.images.mending import WARNING

FRAME_KEYWORDS = ("ExtendedOffsetTable",)

MAX_CODESTREAM_BYTES = 1 << 29
"""Longest compressed frame that is handed to a codec."""

_CHROMA = (("YBR_FULL_422", "YBR_FULL"), ("YBR_FULL", "YBR_FULL_422"))
_FIRST_BYTES = (b"\xff\xd8", b"\xff\x4f")
"""Of JPEG's and JPEG-LS's codestreams, and of JPEG 2000's."""

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
        raise ImageError(
            f"{file.path}: expected pixel data, got an empty element; fetch it with its pixels"
        )
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag = group << 16 | element
    if explicit:
        (length,) = struct.unpack(f"{order}L", head[8:12])
        return PixelElement(tag, head[4:6].decode("latin-1"), file.pixels_at + 12, length)
    (length,) = struct.unpack(f"{order}L", head[4:8])
    return PixelElement(tag, "OW", file.pixels_at + 8, length)


def native_layout(file: Parsed, element: PixelElement, layout: Layout) -> Layout:
    """A layout that fits the bytes which are there, with a warning where the header does not.

    The bytes say whether colours are subsampled, and how many frames there are.
    """
    there = min(element.length, max(0, file.stream.size - element.start))
    for claimed, other in _CHROMA:
        if layout.photometric == claimed and layout.allocated == 8:
            fits = replace(layout, photometric=other)
            bits = layout.frames * fits.frame_bits
            if there in (bits // 8, bits // 8 + bits // 8 % 2):
                warning = (
                    f"{WARNING}colour: {other} by the number of bytes, {claimed} in the header"
                )
                layout = replace(fits, warnings=(*layout.warnings, warning))
                break
    whole = there * 8 // layout.frame_bits
    if not layout.frames:
        return replace(layout, frames=max(1, whole))
    if element.length != UNDEFINED and 1 <= whole < layout.frames:
        warning = f"{WARNING}frames: {whole} there, {layout.frames} in the header"
        layout = replace(layout, frames=whole, warnings=(*layout.warnings, warning))
    return layout


def native_frame(file: Parsed, element: PixelElement, layout: Layout, frame: int) -> bytes:
    """One uncompressed frame, with the bits before it in its first byte where it has 1-bit pixels.

    Raises:
        ImageError: fewer bytes than all frames of the header take.
    """
    bits = layout.frame_bits
    first, last = frame * bits // 8, -(-(frame + 1) * bits // 8)
    odd, length = first % 2, last - first
    if _swapped(file, element, layout):
        first, last = first - odd, last + last % 2
    there = min(element.length, max(0, file.stream.size - element.start))
    whole = -(-layout.frames * bits // 8)
    if element.length == UNDEFINED or whole > there:
        got = f"{there:,}; fetch it again, or correct Rows, Columns and BitsAllocated"
        if element.length == UNDEFINED:
            got = "compressed ones; correct the transfer syntax"
        raise ImageError(f"{file.path}: expected {whole:,} bytes of uncompressed pixels, got {got}")
    content = file.stream.slice(element.start + first, last - first)
    if in_words(file, element, layout):
        return np.frombuffer(content, "V2").reshape(-1, 2)[:, ::-1].tobytes()
    if not _swapped(file, element, layout):
        return content
    return swapped(content)[odd : odd + length]


def in_words(file: Parsed, element: PixelElement, layout: Layout) -> bool:
    """Whether 32-bit pixels lie as words of 16 bits of a big-endian file, the lower first.

    PS3.5 sections 7.3 and 8.1.1; dcmtk and GDCM read them so, pydicom takes words of 32 bits.
    """
    return not file.little and element.vr == "OW" and layout.allocated == 32


def _swapped(file: Parsed, element: PixelElement, layout: Layout) -> bool:
    """Whether bits or bytes lie as 16-bit words of a big-endian file, PS3.5 section 8.1.1."""
    return not file.little and element.vr == "OW" and layout.allocated <= 8


@dataclass(frozen=True)
class Spans:
    """Where the frames' codestreams lie: per frame its fragments as (start, length)."""

    frames: tuple[tuple[tuple[int, int], ...], ...]
    warnings: tuple[str, ...] = ()


def compressed_spans(file: Parsed, element: PixelElement, count: int) -> Spans:
    """Find the codestreams of encapsulated pixels, PS3.5 section A.4.

    A fragment a frame needs no table. Else an offset table decides where it fits the fragments,
    or else each fragment that starts as a codestream does begins a frame.

    Args:
        file: parsed.
        element: its pixel element.
        count: of frames, as the header claims.

    Raises:
        ImageError: not encapsulated, or fragments that are cut short or make no frame.
        ElementError: an extended offset table that cannot be read.
    """
    if element.length != UNDEFINED:
        raise ImageError(
            f"{file.path}: expected compressed pixels as {file.syntax.name} says, got "
            "uncompressed ones; correct the transfer syntax"
        )
    stream = file.stream.fresh(MAX_CODESTREAM_BYTES)
    try:
        (table, *fragments), delimited = _fragments(stream, element.start)
    except (ValueError, OverBudgetError):
        raise ImageError(
            f"{file.path}: expected compressed pixels in whole fragments, got ones that are cut "
            "short or damaged; fetch it again"
        ) from None
    warnings = () if delimited else (f"{WARNING}fragments: no delimiter behind them",)
    starts = _starts(file, table, fragments, count)
    if starts is None:
        heads = [file.stream.slice(at, 2) for at, _ in fragments]
        starts = [number for number, head in enumerate(heads) if head in _FIRST_BYTES]
        if starts[:1] != [0]:  # RLE, which a fragment holds whole
            starts = list(range(len(fragments)))
    if not starts:
        raise ImageError(
            f"{file.path}: expected compressed pixels, got none; fetch it with its pixels"
        )
    if len(starts) != count and count:
        warnings = (*warnings, f"{WARNING}frames: {len(starts)} there, {count} in the header")
    ends = [*starts[1:], len(fragments)]
    frames = tuple(tuple(fragments[i:j]) for i, j in zip(starts, ends, strict=True))
    return Spans(frames, warnings)


def _starts(
    file: Parsed, table: tuple[int, int], fragments: Sequence[tuple[int, int]], count: int
) -> list[int] | None:
    """Each frame's first fragment, by number; None where the header does not say it rightly."""
    if count == 1 and fragments:
        return [0]
    if count == len(fragments):
        return list(range(count))
    extended = file.elements.raw("ExtendedOffsetTable")
    content = extended or file.stream.slice(*table)
    width = 8 if extended else 4
    if len(content) != count * width:
        return None
    places = {at - fragments[0][0]: number for number, (at, _) in enumerate(fragments)}
    offsets = np.frombuffer(content, f"<u{width}").tolist()
    starts = [places.get(offset, -1) for offset in offsets]
    rising = starts[:1] == [0] and all(a < b for a, b in pairwise(starts))
    return starts if rising else None


def _fragments(stream: Stream, start: int) -> tuple[list[tuple[int, int]], bool]:
    """Every item's (start, length), the offset table's first; whether a delimiter follows.

    Raises:
        ValueError, OverBudgetError: no items, one that is cut short, or too many.
    """
    stream.seek(start)
    items: list[tuple[int, int]] = []
    while True:
        head = stream.read(8)
        if len(head) < 8 or head == bytes(8):
            break
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return items, True
        if (group, element) != (0xFFFE, 0xE000) or stream.tell() + length > stream.size:
            raise ValueError("no whole fragment")
        items.append((stream.tell(), length))
        stream.seek(length, os.SEEK_CUR)
    if not items:
        raise ValueError("no offset table")
    return items, False


def compressed_frame(file: Parsed, spans: Spans, frame: int) -> bytes:
    """One frame's codestream.

    Raises:
        ImageError: too long.
    """
    fragments = spans.frames[frame]
    if sum(length for _, length in fragments) > MAX_CODESTREAM_BYTES:
        raise ImageError(
            f"{file.path}: expected a codestream of at most {MAX_CODESTREAM_BYTES:,} bytes, got "
            "a longer one; decompress it with gdcmconv --raw"
        )
    return b"".join(file.stream.slice(at, length) for at, length in fragments)
