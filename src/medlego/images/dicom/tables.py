"""Lookup tables as DICOM stores them: of greys, and of palettes with or without segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medlego.images.dicom.elements import ElementError, Elements

MAX_ENTRIES = 1 << 16

_RUN, _LINE, _REPETITION = range(3)


@dataclass(frozen=True, eq=False)
class LookupTable:
    """`entries` (n,) in [0, 1] for the inputs `first` … `first` + n − 1; others take the ends.

    `bits` are what the entries need to be told apart, `declared` what their descriptor says.
    """

    first: int
    entries: np.ndarray
    bits: int
    declared: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look values up; an input between two whole numbers takes the nearer."""
        places = np.rint(values - self.first).clip(0, len(self.entries) - 1)
        looked_up: np.ndarray = self.entries[places.astype(np.int64)]
        return looked_up


def grey_table(item: Elements, *, signed: bool) -> LookupTable:
    """The table of a modality or VOI LUT sequence's item, PS3.3 section C.11.1.

    Args:
        item: with LUTDescriptor and LUTData.
        signed: whether its inputs may be negative.

    Raises:
        ElementError: missing, or of another length than described.
    """
    return _plain(item, "LUT", signed)


def palette(elements: Elements, *, signed: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """Red, green and blue of a palette, PS3.3 sections C.7.6.3.1.5 and C.7.9.

    Raises:
        ElementError: missing, or of another length than described.
    """
    red, green, blue = (_colour(elements, colour, signed) for colour in ("Red", "Green", "Blue"))
    return red, green, blue


def _colour(elements: Elements, colour: str, signed: bool) -> LookupTable:
    if elements.raw(f"Segmented{colour}PaletteColorLookupTableData") is None:
        name = f"{colour}PaletteColorLookupTable"
        return _plain(elements, name, signed)
    count, first, bits = _descriptor(elements, f"{colour}PaletteColorLookupTableDescriptor", signed)
    keyword = f"Segmented{colour}PaletteColorLookupTableData"
    try:
        entries = _expanded(elements.raw(keyword) or b"", bits, elements.little, count)
    except (IndexError, ValueError):
        raise ElementError(
            f"{keyword}: expected segments of {count} entries, got damaged ones"
        ) from None
    return LookupTable(first, entries / ((1 << bits) - 1), bits, bits)


def _plain(elements: Elements, name: str, signed: bool) -> LookupTable:
    count, first, bits = _descriptor(elements, f"{name}Descriptor", signed)
    content = elements.raw(f"{name}Data") or b""
    if len(content) >= 2 * count:
        entries = _words(content[: 2 * count], 16, elements.little)
    elif bits <= 8 and len(content) >= count:
        entries = np.frombuffer(_in_order(content, elements.little)[:count], np.uint8)
    else:
        raise ElementError(f"{name}Data: expected {count} entries, got fewer")
    used = int(entries.max()).bit_length() or bits
    return LookupTable(first, entries / ((1 << used) - 1), used, bits)


def _descriptor(elements: Elements, keyword: str, signed: bool) -> tuple[int, int, int]:
    content = elements.raw(keyword) or b""
    if len(content) != 6:
        raise ElementError(
            f"{keyword}: expected three numbers of 2 bytes, got {len(content)} bytes"
        )
    count, first, bits = (int(word) for word in _words(content, 16, elements.little))
    if not 1 <= bits <= 16:
        raise ElementError(f"{keyword}: expected 1 to 16 bits an entry, got {bits}")
    return count or MAX_ENTRIES, first - ((first & 0x8000) << 1) * signed, bits


def _words(content: bytes, bits: int, little: bool) -> np.ndarray:
    if bits <= 8:
        return np.frombuffer(content, np.uint8)
    return np.frombuffer(content[: len(content) // 2 * 2], "<u2" if little else ">u2")


def swapped(words: bytes) -> bytes:
    """The bytes of each two changed over; a last one without another as it is."""
    pairs = bytearray(words)
    even = len(words) // 2 * 2
    pairs[:even:2], pairs[1:even:2] = words[1:even:2], words[:even:2]
    return bytes(pairs)


def _in_order(content: bytes, little: bool) -> bytes:
    """Entries of a byte, two to a word, the first in the word's lower half."""
    return content if little else swapped(content)


def _expanded(content: bytes, bits: int, little: bool, count: int) -> np.ndarray:
    """The entries of a segmented table: runs given, lines to an end, repetitions of earlier ones.

    Raises:
        IndexError, ValueError: segments that are cut short, empty, or of no kind.
    """
    if bits <= 8:
        content, little = _in_order(content, little), True
    values: list[int] = _words(content, bits, little).tolist()
    width = 1 if bits <= 8 else 2
    entries: list[int] = []
    at = 0
    while at + 1 < len(values) and len(entries) < count:
        if values[at] != _REPETITION:
            at = _append_segment(values, at, entries)
            continue
        end = at + 2 + 4 // width
        low, high = _words(content[(at + 2) * width : end * width], 16, little).tolist()
        place = (high << 16 | low) // width
        for _ in range(values[at + 1]):
            if len(entries) < count:
                place = _append_segment(values, place, entries)
        at = end
    if len(entries) < count:
        raise ValueError("segments end early")
    return np.array(entries[:count], dtype=np.float64)


def _append_segment(values: list[int], at: int, entries: list[int]) -> int:
    """Expand the segment at `at`; returns where the next one starts."""
    kind, size = values[at], values[at + 1]
    if size == 0 or kind not in (_RUN, _LINE):
        raise ValueError("an empty segment, or one of no kind")
    if kind == _RUN:
        entries += values[at + 2 : at + 2 + size]
        return at + 2 + size
    start, end = entries[-1], values[at + 2]
    entries += np.rint(np.linspace(start, end, size + 1)[1:]).astype(int).tolist()
    return at + 3
