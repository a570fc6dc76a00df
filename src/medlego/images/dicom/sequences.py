"""Where a sequence's items lie, found without parsing what they hold, PS3.5 section 7.5."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from medlego.images.dicom.stream import OverBudgetError

UNDEFINED = 0xFFFFFFFF

MAX_STEPS = 2_000_000
"""Headers that are looked at in one sequence; 12,000 frames of 60 elements take 1,100,000."""

MAX_DEPTH = 100
"""Sequences and items without length that may lie in each other."""

_MARK, _ITEM, _ITEM_END = 0xFFFE, 0xE000, 0xE00D
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)


def find_items(
    content: bytes | bytearray, *, implicit: bool, little: bool, more: Callable[[], bytes] = bytes
) -> tuple[array[int], int | None]:
    """Find the items of one sequence; whatever has a length is stepped over.

    A delimiter that is missing is taken to stand before what cannot lie in the item or sequence.

    Args:
        content: from behind the sequence's own header.
        implicit: whether no element has a VR; else each that has none is taken as implicit.
        little: whether it is little endian.
        more: gives the bytes behind `content`, which must then be a bytearray, and grows.

    Returns:
        Each item's start and end, one after the other, and where the sequence ends, None where
        its content does first.

    Raises:
        OverBudgetError: too many headers.
        RecursionError: nested too deep.
    """
    order = "<" if little else ">"
    head_at, short_at = Struct(f"{order}HHL").unpack_from, Struct(f"{order}H").unpack_from
    long_at = Struct(f"{order}L").unpack_from
    items = array("Q")
    at = start = depth = 0  # in a sequence where depth is even, in an item where it is odd
    for _ in range(MAX_STEPS):
        while len(content) < at + 12 and (extra := more()):
            content += extra
        if len(content) < at + 8:
            items.extend((start, len(content)) if depth else ())
            return items, None
        group, element, length = head_at(content, at)
        if group != _MARK:
            if depth % 2 == 0:
                if not depth:
                    return items, at
                depth -= 1
            vr = b"" if implicit else bytes(content[at + 4 : at + 6])
            at += 8
            if vr in _LONG and len(content) >= at + 4:
                (length,) = long_at(content, at)
                at += 4
            elif vr.isalpha() and vr.isupper():  # also one that nobody knows, as pydicom has it
                (length,) = short_at(content, at - 2)
            if length != UNDEFINED:
                at += length
            elif depth < MAX_DEPTH:
                depth += 1
            else:
                raise RecursionError
            continue
        if element == _ITEM_END and depth and depth % 2 == 0:
            depth -= 1
        if depth % 2:
            depth -= 1
            items.extend(() if depth else (start, at))
        at += 8
        if element == _ITEM and length == UNDEFINED:
            depth += 1
            start = start if depth > 1 else at
        elif element == _ITEM:
            items.extend(() if depth else (at, at + length))
            at += length
        elif element != _ITEM_END:
            if not depth:
                return items, at
            depth -= 1
    raise OverBudgetError
