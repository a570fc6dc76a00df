"""Tables of text: CSV, Parquet or Excel in, columns of cells with their rows' numbers out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import time
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from medlego.data.readers.apart import parquet_header, read_apart
from medlego.data.readers.columns import GROUP_PREFIX
from medlego.data.readers.csv_file import check_widths, open_csv
from medlego.errors import DatasetError, raise_all

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls")
MAX_ROWS = 5_000_000
"""Longer tables are refused."""

MAX_WORD = 200
"""Characters of a patient, split, UID or group."""

MAX_TEXT_BYTES = 1 << 30
"""Of a Parquet file's columns together."""

MISSING = frozenset(
    ["-", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NULL", "null", "None", "NaN", "nan", "NAN"]
)
"""How programs and people spell a cell without a value."""


@dataclass(frozen=True)
class TextTable:
    """Cells as text without surrounding space, `""` where there is no value.

    `numbers` are the rows' numbers in the file, the header being row 1; messages name rows by
    them, and no cell's content that could be a patient's.
    """

    path: Path
    columns: Mapping[str, tuple[str, ...]]
    numbers: tuple[int, ...]
    header: tuple[str, ...] = ()
    """All columns of the file."""

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: Sequence[int] | np.ndarray) -> TextTable:
        """The rows at `indices`, in that order; a row may come more than once."""
        columns = {name: tuple(cells[i] for i in indices) for name, cells in self.columns.items()}
        return replace(self, columns=columns, numbers=tuple(self.numbers[i] for i in indices))

    def only(
        self, indices: Sequence[int], what: str, step: str = "; check them"
    ) -> tuple[TextTable, list[str]]:
        """The rows at `indices`, which have `what`, and a note on the other rows.

        Raises:
            DatasetError: none has it.
        """
        if not indices:
            raise DatasetError(
                f"{self.path}: expected {what} for each row, found none for all {len(self)}{step}"
            )
        left = np.delete(np.arange(len(self)), indices)
        count = f"{len(left):,} of {len(self):,} rows without {what}"
        notes = [f"left out: {count} (rows {self.rows(left)})"] if len(left) else []
        return self.take(indices), notes

    def rows(self, indices: Iterable[int], most: int = 5) -> str:
        """The first of these rows' numbers, and how many more there are."""
        rows = list(dict.fromkeys(str(self.numbers[i]) for i in indices))
        more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
        return f"{', '.join(rows[:most])}{more}"

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


_WHOLE = re.compile(r"([+-]?\d{1,99})\.0*")


def whole_number(text: str) -> str:
    """`1.0` as `1`: how programs write whole numbers of a column with gaps."""
    match = _WHOLE.fullmatch(text)
    return str(int(match[1])) if match else text


Rename = Callable[[Sequence[str]], Mapping[str, str]]
"""A header to the columns that are read, and what each is called from here."""


def all_columns(header: Sequence[str]) -> dict[str, str]:
    """Every column that has a name, as it is called."""
    return {name: name for name in header if name}


def read_table(
    path: Path, rename: Rename = all_columns, *, words: Collection[str] = ()
) -> TextTable:
    """Read a CSV, Parquet or Excel table; its ending decides.

    Args:
        path: `.csv` or `.tsv`, see `open_csv`; `.parquet`; `.xlsx` or `.xls`, the first sheet.
        rename: which columns are read; may raise ValueError.
        words: labels that mean themselves, though they are spelled as missing values are.

    Raises:
        DatasetError: no such format, not readable, no row, more than `MAX_ROWS`, or (CSV) rows
            that have not as many cells as the header.
    """
    reads = {".parquet": _read_parquet, ".xlsx": _read_excel, ".xls": _read_excel}
    try:
        table = reads.get(path.suffix.lower(), _read_csv)(path, rename)
    except ValueError as problem:
        raise DatasetError(f"{path}: {problem}") from None
    return checked_table(table, words)


def checked_table(table: TextTable, words: Collection[str] = ()) -> TextTable:
    """A table that has rows, whose cells without a value are empty; see `read_table`.

    Raises:
        DatasetError: no row, or more than `MAX_ROWS`.
    """
    if not len(table):
        raise DatasetError(f"{table.path}: expected a header and at least one row, got none")
    if len(table) > MAX_ROWS:
        raise DatasetError(f"{table.path}: expected at most {MAX_ROWS:,} rows, got more; split it")
    missing = {"label": MISSING - set(words)}
    columns = {
        name: tuple("" if cell in missing.get(name, MISSING) else cell for cell in cells)
        for name, cells in table.columns.items()
    }
    for name in columns:
        if name in ("patient_id", "site") or name.startswith(GROUP_PREFIX):
            columns[name] = tuple(map(whole_number, columns[name]))
    return replace(table, columns=columns)


def _read_csv(path: Path, rename: Rename) -> TextTable:
    # Not polars: it names no row where cells are missing or too many, reads an empty line as a
    # row, and its messages quote the file.
    with open_csv(path) as (header, numbered):
        rows = list(islice(numbered, MAX_ROWS + 1))
    raise_all(DatasetError, str(path), check_widths(header, rows)[:20])
    names = rename(header)
    cells = zip(*(row for _, row in rows), strict=True) if rows else [()] * len(header)
    columns = {
        names[text]: tuple(cell.strip() for cell in column)
        for text, column in zip(header, cells, strict=True)
        if text in names
    }
    return TextTable(path, columns, tuple(number for number, _ in rows), tuple(header))


def _read_excel(path: Path, rename: Rename) -> TextTable:
    frame = read_apart(path)
    return frame_rows(path, frame, rename(frame.columns), frame.columns)


def _read_parquet(path: Path, rename: Rename) -> TextTable:
    header, count = parquet_header(path)
    names = rename(header)
    if count > MAX_ROWS or not names:
        return TextTable(path, {}, tuple(range(2, count + 2)), tuple(header))
    return frame_rows(path, read_apart(path, list(names)), names, header)


def frame_rows(
    path: Path,
    frame: pl.DataFrame,
    names: Mapping[str, str],
    header: Sequence[str],
    first: int = 2,
) -> TextTable:
    """Some columns of a frame as text, whose first row has the number `first`.

    Raises:
        DatasetError: a column of something else than text, numbers and truth values.
    """
    frame = frame.select(list(names))
    problems = [
        f"column {column.name[:60]!r}: expected text, numbers or truth values, got {column.dtype}"
        for column in frame
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object, pl.Duration)
    ]
    raise_all(DatasetError, str(path), problems)
    # a text that many rows share is stored once, and in memory once until it is taken apart
    size = sum(int(c.str.len_bytes().sum()) for c in frame if c.dtype == pl.String)
    if size > MAX_TEXT_BYTES:
        raise DatasetError(
            f"{path}: expected at most {MAX_TEXT_BYTES:,} bytes of text, got {size:,}; shorten it"
        )
    columns = {names[column.name]: _texts(column) for column in frame}
    return TextTable(path, columns, tuple(range(first, len(frame) + first)), tuple(header))


def _texts(column: pl.Series) -> tuple[str, ...]:
    """A column's cells as programs write them to CSV."""
    if column.dtype == pl.Boolean:
        return tuple("" if v is None else str(v) for v in column)
    if column.dtype == pl.Datetime:
        midnight = (column.dt.time() == time()).all()
        column = column.dt.date() if midnight else column.dt.to_string("%F %T%.f")
    if column.dtype.is_float():
        # whole numbers with gaps are stored as floating point: 1.0 is the label 1
        values = [None if v is None else int(v) if v.is_integer() else v for v in column]
        return tuple("" if v is None else str(v) for v in values)
    return tuple("" if v is None else v.strip() for v in column.cast(pl.String))
