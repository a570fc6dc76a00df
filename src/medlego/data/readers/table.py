"""Tables of text: CSV or Parquet in, columns of cells with their rows' numbers out."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from medlego.errors import DatasetError, raise_all

TABLE_SUFFIXES = (".csv", ".parquet")
MAX_ROWS = 5_000_000
"""Longer tables are refused."""

MAX_WORD = 200
"""Characters of a patient, split, UID or group."""

MAX_TEXT_BYTES = 1 << 30
"""Of a Parquet file's columns together."""

_UNKNOWN = "nan"
"""How tables written from floating-point columns spell a cell without a value."""


@dataclass(frozen=True)
class TextTable:
    """Cells as text without surrounding space, `""` where there is no value.

    `numbers` are the rows' numbers in the file, the header being row 1; messages name rows by
    them, and no cell's content that could be a patient's.
    """

    path: Path
    columns: Mapping[str, tuple[str, ...]]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: Sequence[int] | np.ndarray) -> TextTable:
        """The rows at `indices`, in that order; a row may come more than once."""
        columns = {name: tuple(cells[i] for i in indices) for name, cells in self.columns.items()}
        return TextTable(self.path, columns, tuple(self.numbers[i] for i in indices))

    def filled(self, name: str) -> np.ndarray | None:
        """A column with a value in every row, (N,) of text; None where there is no such column.

        Raises:
            DatasetError: a row without a value, or with one of more than `MAX_WORD` characters.
        """
        if name not in self.columns:
            return None
        cells = self.columns[name]
        if empty := [i for i, cell in zip(self.numbers, cells, strict=True) if not cell]:
            raise DatasetError(
                f"{self.path}: {name}: expected a value in every row, none in row {empty[0]}"
            )
        return self.words(name)

    def words(self, name: str) -> np.ndarray:
        """A column of short texts, (N,), which takes as much memory as if all were the longest.

        Raises:
            DatasetError: a cell of more than `MAX_WORD` characters.
        """
        cells = self.columns[name]
        if long := [i for i, c in zip(self.numbers, cells, strict=True) if len(c) > MAX_WORD]:
            raise DatasetError(
                f"{self.path}: {name[:60]}: expected at most {MAX_WORD} characters, got more in "
                f"row {long[0]}; shorten it"
            )
        return np.array(cells)


def read_table(path: Path, selects: Callable[[str], bool] = lambda _name: True) -> TextTable:
    """Read a `.csv` (UTF-8) or a `.parquet` file.

    Args:
        path: the file; its ending decides.
        selects: which columns are read, by name.

    Raises:
        DatasetError: no such format, not readable, no row, more than `MAX_ROWS`, or (CSV) rows
            that have not as many cells as the header.
    """
    table = _read_parquet(path, selects) if path.suffix.lower() == ".parquet" else _read_csv(path)
    if not len(table):
        raise DatasetError(f"{path}: expected a header and at least one row, got none")
    if len(table) > MAX_ROWS:
        raise DatasetError(f"{path}: expected at most {MAX_ROWS:,} rows, got more; split it")
    return table


def _read_csv(path: Path) -> TextTable:
    # Not polars: it names no row where cells are missing or too many, reads an empty line as a
    # row, and its messages quote the file.
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            numbered = ((number, row) for number, row in enumerate(reader, 2) if row)
            rows = list(islice(numbered, MAX_ROWS + 1))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: expected UTF-8 CSV with a header ({error})") from error
    except OSError as error:
        raise DatasetError(f"{path}: expected a file to read, got {error.strerror}") from None
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = [f"column {name[:60]!r}: expected it once" for name in twice]
    problems += [
        f"row {number}: expected {len(header)} cells, got {len(row)}"
        for number, row in rows
        if len(row) != len(header)
    ]
    raise_all(DatasetError, str(path), problems[:20])
    cells = zip(*(row for _, row in rows), strict=True) if rows else [()] * len(header)
    columns = {name: tuple(map(_cell, column)) for name, column in zip(header, cells, strict=True)}
    return TextTable(path, columns, tuple(number for number, _ in rows))


def _read_parquet(path: Path, selects: Callable[[str], bool]) -> TextTable:
    try:
        lazy = pl.scan_parquet(path, glob=False)
        names = [name for name in lazy.collect_schema().names() if selects(name)]
        count = int(lazy.select(pl.len()).collect().item())
        if count > MAX_ROWS or not names:
            return TextTable(path, {}, tuple(range(2, count + 2)))
        frame = lazy.select(names).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DatasetError(
            f"{path}: expected a whole Parquet file, got another ({type(error).__name__}); "
            "write it again"
        ) from None
    problems = [
        f"column {column.name[:60]!r}: expected text, numbers or truth values, got {column.dtype}"
        for column in frame
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object)
    ]
    raise_all(DatasetError, str(path), problems)
    # a text that many rows share is stored once, and in memory once until it is taken apart
    size = sum(int(c.str.len_bytes().sum()) for c in frame if c.dtype == pl.String)
    if size > MAX_TEXT_BYTES:
        raise DatasetError(
            f"{path}: expected at most {MAX_TEXT_BYTES:,} bytes of text, got {size:,}; shorten it"
        )
    columns = {column.name: _texts(column) for column in frame}
    return TextTable(path, columns, tuple(range(2, len(frame) + 2)))


def _texts(column: pl.Series) -> tuple[str, ...]:
    if column.dtype == pl.Boolean:
        column = column.cast(pl.Int8)
    if column.dtype.is_float():
        # whole numbers with gaps are stored as floating point: 1.0 is the label 1
        values = [None if v is None else int(v) if v.is_integer() else v for v in column]
        return tuple("" if v is None else _cell(str(v)) for v in values)
    return tuple("" if v is None else _cell(v) for v in column.cast(pl.String))


def _cell(text: str) -> str:
    text = text.strip()
    return "" if text.lower() == _UNKNOWN else text
