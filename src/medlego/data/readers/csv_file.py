"""CSV as people write it: any common delimiter, a `sep=` line, UTF-8 or Excel's UTF-16."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medlego.errors import DatasetError

DELIMITERS = ",;\t|"
"""Which of them a file uses is told by its header: the one that parts it most."""

_STATED = re.compile(r'"?sep=(.)"?\s*')
_LONGEST_LINE = 1 << 20


@contextmanager
def open_csv(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """The header, and the rows with their numbers in the file, the first line being row 1.

    Rows without anything in them are stepped over.

    Raises:
        DatasetError: not to be opened, or (also while rows are read) no CSV.
    """
    try:
        with path.open("rb") as stream:
            wide = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with path.open(newline="", encoding="utf-16" if wide else "utf-8-sig") as text:
            first = text.readline(_LONGEST_LINE)
            stated = _STATED.fullmatch(first)
            if not stated:
                text.seek(0)
            reader = csv.reader(text, delimiter=stated[1] if stated else _delimiter(first))
            header = [name.strip() for name in next(reader, [])]
            numbered = enumerate(reader, 3 if stated else 2)
            yield header, ((number, row) for number, row in numbered if any(map(str.strip, row)))
    except (UnicodeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: expected UTF-8 CSV with a header ({error}); save it as CSV UTF-8"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: expected a file to read, got {error.strerror}") from None


def check_widths(header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> list[str]:
    """What is wrong with columns of one name, and with rows of another width than the header."""
    twice = sorted({name for name in header if name and header.count(name) > 1})
    problems = [f"column {name[:60]!r}: expected it once" for name in twice]
    return problems + [
        f"row {number}: expected {len(header)} cells, got {len(row)}"
        for number, row in rows
        if len(row) != len(header)
    ]


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=lambda d: len(next(csv.reader([header], delimiter=d), [])))
