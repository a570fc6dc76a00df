"""Enhanced multi-frame files for tests, written byte by byte in any encoding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import pack

import numpy as np
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomfiles import as_bytes, dataset

UNDEFINED = 0xFFFFFFFF
OWN, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
PIXELS = (np.arange(64, dtype="u2").reshape(8, 8) * 60).astype("<u2")


@dataclass(frozen=True)
class Encoding:
    """How elements are written. Sequences and items have lengths, or delimiters if these are."""

    explicit: bool = True
    little: bool = True
    lengths: bool = True
    item_ends: bool = True
    sequence_ends: bool = True

    @property
    def order(self) -> str:
        return "<" if self.little else ">"

    def tag(self, name: str | int) -> bytes:
        return pack(f"{self.order}HH", Tag(name).group, Tag(name).element)

    def element(self, name: str | int, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        length = vr + pack(f"{self.order}H", len(value)) if self.explicit else self.length(value)
        return self.tag(name) + length + value

    def length(self, value: bytes | None) -> bytes:
        return pack(f"{self.order}L", UNDEFINED if value is None else len(value))

    def sequence(self, name: str | int, items: Iterable[bytes], vr: bytes = b"SQ") -> bytes:
        """A sequence of items, of which each is its elements."""
        item, end = self.tag(0xFFFEE000), self.tag(0xFFFEE00D) + bytes(4)
        if self.lengths:
            body: bytes = b"".join(item + self.length(each) + each for each in items)
        else:
            end *= self.item_ends
            body = b"".join(item + self.length(None) + each + end for each in items)
        head = self.tag(name) + (vr + bytes(2)) * self.explicit
        stop = b"" if self.lengths else (self.tag(0xFFFEE0DD) + bytes(4)) * self.sequence_ends
        return head + self.length(body if self.lengths else None) + body + stop

    def frame(self, number: int) -> bytes:
        """A frame's groups with a window, a slope and a spacing of its own."""
        position = self.element("ImagePositionPatient", b"DS", b"%d\\0\\7" % number)
        orientation = self.element("ImageOrientationPatient", b"DS", b"1\\0\\0\\0\\1\\0")
        spacing = self.element("PixelSpacing", b"DS", b"0.%d\\0.5" % (number % 9 + 1))
        values = self.element("RescaleIntercept", b"DS", b"%d" % (number % 7))
        values += self.element("RescaleSlope", b"DS", b"%d" % (number % 3 + 1))
        values += self.element("RescaleType", b"LO", b"US")
        window = self.element("WindowCenter", b"DS", b"%d" % (1000 + number % 500))
        window += self.element("WindowWidth", b"DS", b"%d" % (800 + number % 300))
        groups = {
            "FrameContentSequence": self.element("StackID", b"SH", b"1"),
            "PlanePositionSequence": position,
            "PlaneOrientationSequence": orientation,
            "PixelMeasuresSequence": spacing,
            "PixelValueTransformationSequence": values,
            "FrameVOILUTSequence": window,
        }
        return b"".join(self.sequence(name, [elements]) for name, elements in groups.items())

    def file(self, frames: int, *sequences: bytes) -> bytes:
        """A whole file of equal frames, with sequences between its header and its pixels."""
        implicit = ExplicitVRLittleEndian if self.explicit else ImplicitVRLittleEndian
        syntax = implicit if self.little else ExplicitVRBigEndian
        content = PIXELS.astype(f"{self.order}u2")
        start = as_bytes(dataset(content, syntax=syntax, NumberOfFrames=frames, BitsStored=12))
        start = start[: start.rindex(self.tag("PixelData"))]
        pixels = content.tobytes() * frames
        head = self.tag("PixelData") + b"OW\0\0" * self.explicit + self.length(pixels)
        return start + b"".join(sequences) + head + pixels

    def enhanced(self, frames: int) -> bytes:
        """A whole file with groups for each frame and an empty item that all share."""
        own = self.sequence(OWN, map(self.frame, range(frames)))
        return self.file(frames, self.sequence(SHARED, [b""]), own)
