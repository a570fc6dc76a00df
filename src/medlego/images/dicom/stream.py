"""A file read within a budget, so that what a header claims never decides what is allocated."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

MAX_READS = 300_000
"""Reads that a header may take; an element or item takes two or three."""

MAX_HEADER_BYTES = 64 << 20
"""Bytes that a header may bring into memory, pixel data aside."""


class OverBudgetError(Exception):
    """A header took more reads or more bytes than any honest one."""


class Stream(io.RawIOBase, BinaryIO):
    """A binary stream that gives what is there and no more, until its budget is spent.

    It has what pydicom's parser needs of a file. `spent` stays true after the first refusal,
    since that parser replaces the exception by its own.
    """

    def __init__(self, source: BinaryIO, *, max_bytes: int = MAX_HEADER_BYTES) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._reads = 0
        self._bytes = 0
        here = source.tell()
        self.size = source.seek(0, os.SEEK_END)
        source.seek(here)
        self.spent = False

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes from here, fewer at the end.

        Raises:
            OverBudgetError: one read or one byte too many.
        """
        left = max(0, self.size - self._source.tell())
        count = left if count < 0 else min(count, left)
        self._reads += 1
        self._bytes += count
        if self._reads > MAX_READS or self._bytes > self._max_bytes:
            self.spent = True
            raise OverBudgetError
        return self._source.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as a file does, also beyond the end."""
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read starts."""
        return self._source.tell()

    def fresh(self, max_bytes: int) -> Stream:
        """The same file with another budget."""
        return Stream(self._source, max_bytes=max_bytes)

    def slice(self, offset: int, count: int) -> bytes:
        """`count` bytes at `offset`, fewer at the end, outside the budget: the caller knows why."""
        self._source.seek(offset)
        return self._source.read(min(count, max(0, self.size - offset)))
