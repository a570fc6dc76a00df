"""Single values and sequence items of a data set, converted only when they are small."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from medlego.images.dicom.sequences import UNDEFINED, find_items
from medlego.images.dicom.silence import quietly
from medlego.images.dicom.stream import OverBudgetError, Stream

MAX_VALUE_BYTES = 1 << 18
"""Longest value that is converted; lookup tables, the longest that are used, have 2 ^ 17."""

_TEXTS = ("DS", "IS")
_WITHOUT_LENGTH = ("SQ", "UN", None)
"""VRs of sequences whose length may be undefined; implicit VR says none."""
_LEAST_BYTES, _MOST_BYTES = 1 << 12, 1 << 20
"""Read at once of a sequence whose end is not known yet."""
_StopWhen = Callable[[BaseTag, str | None, int], bool]
_DECIMAL = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
"""A number stored as text; devices in some countries have written decimal commas."""


class ElementError(ValueError):
    """An element's value is not what it must be: `<keyword>: expected …, got …; <next step>`."""

    def __init__(self, problem: str, advice: str = "correct the header with dcmodify") -> None:
        super().__init__(f"{problem}; {advice}")


class Elements:
    """A data set's elements by keyword. What is not there, or is empty, is None.

    `little` is the byte order of what `raw` gives.
    """

    def __init__(self, dataset: Dataset, implicit: bool, little: bool) -> None:
        self._dataset = dataset
        self.implicit = implicit
        self.little = little
        self._sequences: dict[BaseTag, _Items] = {}

    @classmethod
    def read(
        cls,
        stream: Stream,
        implicit: bool,
        little: bool,
        *,
        tags: list[BaseTag | int] | None = None,
        stop_when: _StopWhen | None = None,
        in_item: bool = False,
    ) -> Elements:
        """Parse what lies in a stream, with the items of sequences found but not parsed.

        Args:
            stream: at the first element.
            implicit: whether elements have no VR, as is assumed until the first one is there.
            little: whether they are little endian.
            tags: the elements wanted, None for all; others are stepped over.
            stop_when: of tag, VR and length, whether to stop before an element.
            in_item: whether the stream is one item of a sequence.
        """
        opened: list[tuple[BaseTag, str | None]] = []

        def at_stop(tag: BaseTag, vr: str | None, length: int) -> bool:
            if stop_when is not None and stop_when(tag, vr, length):
                return True
            if length != UNDEFINED or vr not in _WITHOUT_LENGTH:
                return False
            opened.append((tag, vr))  # pydicom would parse every item of it
            return True

        first = read_dataset(
            stream, implicit, little, None, at_stop, specific_tags=tags, at_top_level=not in_item
        )
        implicit = bool(first.original_encoding[0])
        elements = cls(first, implicit, little)
        while opened:
            tag, vr = opened.pop()
            stream.seek(12 if vr else 8, os.SEEK_CUR)
            items = _Items.read(stream, implicit, little, in_item)
            if tags is None or tag in tags:
                elements._sequences[tag] = items
            rest = data_element_generator(stream, implicit, little, at_stop, specific_tags=tags)
            first.update({each.tag: each for each in rest if not each.tag.is_private})
        return elements

    def value(self, keyword: str) -> Any:
        """One element's value as pydicom converts it.

        Raises:
            ElementError: longer than any such value, or not to be converted.
        """
        if (raw := self._raw(keyword)) is None:
            return None
        with quietly():
            if isinstance(raw, RawDataElement) and len(raw.value or b"") > MAX_VALUE_BYTES:
                raise ElementError(f"{keyword}: expected a short value, got a very long one")
            try:
                value = self._dataset.get(keyword)
            except Exception as error:  # as in `_raw`
                raise _unreadable(keyword) from error
        return None if value is None or (hasattr(value, "__len__") and not len(value)) else value

    def text(self, keyword: str) -> str | None:
        """One element as text without padding; of several values the first."""
        texts = self.texts(keyword)
        return texts[0] or None if texts else None

    def texts(self, keyword: str) -> list[str]:
        """Every value of one element as text without padding."""
        value = self.value(keyword)
        if isinstance(value, Sequence):
            raise ElementError(f"{keyword}: expected text, got a sequence")
        values = value if isinstance(value, MultiValue) else [] if value is None else [value]
        return [str(one).strip(" \0") for one in values]

    def label(self, keyword: str) -> str | None:
        """As `text`, of what no pixel depends on; None where it cannot be read."""
        try:
            return self.text(keyword)
        except ElementError:
            return None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """An element's numbers; empty where it is not there.

        Raises:
            ElementError: anything but numbers.
        """
        if (parts := self._text_numbers(keyword)) is not None:
            if not all(_DECIMAL.fullmatch(part) for part in parts):
                raise ElementError(f"{keyword}: expected numbers, got something else")
            return tuple(float(part.replace(",", ".")) for part in parts)
        value = self.value(keyword)
        if value is None:
            return ()
        values = value if isinstance(value, MultiValue | list | tuple) else [value]
        try:
            return tuple(float(number) for number in values)
        except (TypeError, ValueError):
            raise ElementError(f"{keyword}: expected numbers, got something else") from None

    def _text_numbers(self, keyword: str) -> list[str] | None:
        """The parts of numbers that are stored as text, None of others."""
        element, content = self._raw(keyword), self.raw(keyword)
        if element is None or content is None or len(content) > MAX_VALUE_BYTES:
            return None
        if dictionary_VR(keyword) not in _TEXTS or element.VR not in (*_TEXTS, "UN", None):
            return None
        parts = (part.strip(" \0") for part in content.decode("latin-1").split("\\"))
        return [part for part in parts if part]

    def number(self, keyword: str) -> float | None:
        """The first of an element's numbers."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def integer(self, keyword: str) -> int | None:
        """The first of an element's numbers, where it is whole.

        Raises:
            ElementError: not whole.
        """
        number = self.number(keyword)
        if number is None:
            return None
        if number != number or abs(number) > 2**53 or number != int(number):
            raise ElementError(f"{keyword}: expected a whole number, got {number:g}")
        return int(number)

    def raw(self, keyword: str) -> bytes | None:
        """An element's bytes as they lie in the file, where it is not converted yet.

        Raises:
            ElementError: it cannot be converted.
        """
        element = self._raw(keyword)
        value = None if element is None else element.value
        return value if isinstance(value, bytes) else None

    def items(self, keyword: str) -> list[Elements]:
        """A sequence's items; empty where there is none.

        Raises:
            ElementError: one of too many items, or an item that cannot be parsed.
        """
        found = (self.item(keyword, index) for index in range(self.count(keyword)))
        return [item for item in found if item is not None]

    def item(self, keyword: str, index: int = 0) -> Elements | None:
        """One of a sequence's items, which alone is parsed, None where it has fewer.

        Raises:
            ElementError: as `items`.
        """
        items = self._items(keyword)
        try:
            return items.get(index) if items else None
        except Exception as error:  # as in `_raw`
            raise _unreadable(keyword) from error

    def count(self, keyword: str) -> int:
        """How many items a sequence has.

        Raises:
            ElementError: too many.
        """
        items = self._items(keyword)
        return len(items.places) // 2 if items else 0

    def _items(self, keyword: str) -> _Items | None:
        raw, tag = self._raw(keyword), _tag(keyword)
        if tag not in self._sequences and raw is not None and isinstance(raw.value, bytes):
            unknown = raw.VR == "UN"
            implicit, little = self.implicit or unknown, self.little or unknown
            try:
                places, _ = find_items(raw.value, implicit=implicit, little=little)
            except (OverBudgetError, RecursionError):
                problem = f"{keyword}: expected a sequence of ordinary size, got something else"
                raise ElementError(problem) from None
            self._sequences[tag] = _Items(raw.value, places, implicit, little)
        return self._sequences.get(tag)

    def _raw(self, keyword: str) -> RawDataElement | DataElement | None:
        """One element as it lies in the file, or as pydicom converts it at once.

        Raises:
            ElementError: it cannot be converted.
        """
        tag = _tag(keyword)
        try:
            return self._dataset.get_item(tag) if tag in self._dataset else None
        except Exception as error:  # any of pydicom's converters may fail in its own way
            raise _unreadable(keyword) from error


@dataclass(frozen=True, eq=False)
class _Items:
    """A sequence's items; `places` are their starts and ends in `content`."""

    content: bytes | bytearray
    places: array[int]
    implicit: bool
    little: bool
    _parsed: dict[int, Elements] = field(default_factory=dict)

    @classmethod
    def read(cls, stream: Stream, implicit: bool, little: bool, in_item: bool) -> _Items:
        """The items of a sequence of undefined length; the stream then stands behind it.

        At the end of an item its delimiter may be missing.

        Raises:
            EOFError, OverBudgetError, RecursionError: no end, too many elements, or too deep.
        """
        content, start = bytearray(), stream.tell()

        def more() -> bytes:
            return stream.read(min(max(len(content), _LEAST_BYTES), _MOST_BYTES))

        places, end = find_items(content, implicit=implicit, little=little, more=more)
        if end is None and not in_item:
            raise EOFError
        stream.seek(start + (len(content) if end is None else end))
        return cls(content, places, implicit, little)

    def get(self, index: int) -> Elements | None:
        """One item, None beyond the last."""
        if index not in self._parsed and index * 2 < len(self.places):
            start, end = self.places[2 * index : 2 * index + 2]
            stream = Stream(BytesIO(self.content[start:end]))
            with quietly():
                item = Elements.read(stream, self.implicit, self.little, in_item=True)
            self._parsed[index] = item
        return self._parsed.get(index)


_tag = lru_cache(Tag)


def _unreadable(keyword: str) -> ElementError:
    return ElementError(f"{keyword}: expected a value of its type, got one that cannot be read")
