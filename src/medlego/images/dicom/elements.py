"""Single values and sequence items of a data set, converted only when they are small."""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from medlego.images.dicom.silence import quietly
from medlego.images.dicom.stream import Stream

MAX_VALUE_BYTES = 1 << 18
"""Longest value that is converted; lookup tables, the longest that are used, have 2 ^ 17."""

_TEXTS = ("DS", "IS")
_DECIMAL = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
"""A number stored as text; devices in some countries have written decimal commas."""


class ElementError(ValueError):
    """An element's value is not what it must be: `<keyword>: expected …, got …; <next step>`."""

    def __init__(self, problem: str, advice: str = "correct the header") -> None:
        super().__init__(f"{problem}; {advice}")


class Elements:
    """A data set's elements by keyword. What is not there, or is empty, is None.

    `little` is the byte order of what `raw` gives.
    """

    def __init__(self, dataset: Dataset, implicit: bool, little: bool) -> None:
        self._dataset = dataset
        self._implicit = implicit
        self.little = little

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
        value = self.value(keyword)
        if isinstance(value, MultiValue):
            value = value[0]
        text = "" if value is None else str(value).strip(" \0")
        return text or None

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
            ElementError: not a sequence, or one of too many items.
        """
        raw = self._raw(keyword)
        if raw is None or not raw.value:
            return []
        with quietly():
            implicit, little = self._implicit, self.little
            if isinstance(raw, DataElement):
                items: Any = raw.value
            else:
                implicit, little = implicit or raw.VR == "UN", little or raw.VR == "UN"
                stream = Stream(BytesIO(raw.value))
                try:
                    items = read_sequence(stream, implicit, little, len(raw.value), "latin-1")
                except Exception as error:
                    raise ElementError(
                        f"{keyword}: expected a sequence of ordinary size, got something else"
                    ) from error
            if not isinstance(items, Sequence):
                raise ElementError(f"{keyword}: expected a sequence, got something else")
            return [Elements(item, implicit, little) for item in items]

    def item(self, keyword: str, index: int = 0) -> Elements | None:
        """One of a sequence's items, None where it has fewer."""
        items = self.items(keyword)
        return items[index] if index < len(items) else None

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


_tag = lru_cache(Tag)


def _unreadable(keyword: str) -> ElementError:
    return ElementError(f"{keyword}: expected a value of its type, got one that cannot be read")
