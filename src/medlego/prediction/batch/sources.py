"""The images of a job, one after another: what lies below a folder, or what a table names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import polars as pl

from medlego.data import (
    AT,
    TABLE_SUFFIXES,
    open_csv,
    parquet_header,
    read_table,
    table_and_folder,
    try_batches,
    unreadable_table,
    usual_name,
)
from medlego.errors import DatasetError, raise_all
from medlego.images import is_image

COLUMN = "path"
DIRECTORY = "DICOMDIR"
"""The file that lists a medium's images and is none (PS3.10 section 8.6)."""

_ROWS_AT_ONCE = 10_000
_PROBLEMS = 20


@dataclass(frozen=True)
class ListedImage:
    """One image by its name below the job's root; size in bytes and time of its last change.

    Both are None where there is no such file.
    """

    name: str
    size: int | None
    changed_ns: int | None


def list_images(sources: Iterable[str | Path], skip: Path | None = None) -> Iterator[ListedImage]:
    """The images of several sources in their order, named as they are reached from here.

    Args:
        sources: files, taken as they are, and what `find_images` takes.
        skip: a folder that is not looked into.

    Raises:
        DatasetError: as `find_images`, or a folder or table without images.
    """
    for source in sources:
        path = Path(table_and_folder(str(source))[0])
        if not path.is_dir() and path.suffix.lower() not in TABLE_SUFFIXES:
            yield _stated(Path(), str(source))
            continue
        root, found = find_images(source, skip)
        if (first := next(found, None)) is None:
            raise DatasetError(f"{source}: expected images, found none; check the path")
        for image in chain([first], found):
            yield replace(image, name=str(root / image.name))


def find_images(source: str | Path, skip: Path | None) -> tuple[Path, Iterator[ListedImage]]:
    """Where a job's images lie, and the images in a fixed order, found while they are asked for.

    Args:
        source: a folder, searched with all that is below, hidden names left out; an image; or a
            table (CSV, Parquet, Excel) with a column `path`, relative to the table's own folder, or
            to another as `TABLE@FOLDER`. Other columns are ignored; a path may stand there more
            than once.
        skip: a folder that is not looked into.

    Raises:
        DatasetError: nothing there. While images are found: no column `path`, rows without one, a
            folder that cannot be read.
    """
    table, folder = table_and_folder(str(source))
    path = Path(table)
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        root = path.parent if folder is None else Path(folder)
        if not root.is_dir():
            raise DatasetError(f"{root}: expected a folder of images, found none; check it")
        cells = _CELLS.get(path.suffix.lower(), _csv_cells)(path)
        return root, (_stated(root, name) for name in _names(path, cells))
    if folder is None and path.is_file() and is_image(path):
        return path.parent, iter([_stated(path.parent, path.name)])
    if folder is None and path.is_dir():
        return path, _below(path, None if skip is None else skip.resolve())
    got = "found nothing there" if not path.exists() else f"got {path.suffix or 'a file'}"
    raise DatasetError(
        f"{source}: expected an image, a folder of images, or a .csv or .parquet table of paths "
        f"(TABLE{AT}FOLDER), {got}; check the path"
    )


def _below(root: Path, skip: Path | None) -> Iterator[ListedImage]:
    """Depth first, by name; links to folders are not followed, since they may lead in circles."""
    left = [("", iter(_entries(root)))]
    while left:
        prefix, entries = left[-1]
        entry = next(entries, None)
        if entry is None:
            left.pop()
            continue
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            if skip is None or entry.name != skip.name or path.resolve() != skip:
                left.append((f"{name}/", iter(_entries(path))))
        elif entry.name != DIRECTORY and _is_file(entry) and is_image(path):
            yield _stated(root, name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name.

    Raises:
        DatasetError: it cannot be read; to pass it over would leave images out without a word.
    """
    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(
            f"{folder}: expected a folder that can be read, got {error.strerror}; see to it and "
            "start again"
        ) from error
    return sorted(listed, key=lambda entry: entry.name)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Also through a link; one that leads nowhere, in a circle or where nobody may look is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _stated(root: Path, name: str) -> ListedImage:
    try:
        status = (root / name).stat()
    except (OSError, ValueError):  # missing, or a name that no file can have
        return ListedImage(name, None, None)
    return ListedImage(name, status.st_size, status.st_mtime_ns)


Cell = tuple[str, str]
"""An image's name, and what is wrong with its row where there is none."""


def _names(path: Path, cells: Iterable[Cell]) -> Iterator[str]:
    problems: list[str] = []
    for cell, problem in cells:
        if name := cell.strip():
            yield name
        elif len(problems) < _PROBLEMS:
            problems.append(problem)
    raise_all(DatasetError, str(path), problems)


def _csv_cells(path: Path) -> Iterator[Cell]:
    with open_csv(path) as (header, rows):
        column = header.index(_column(path, header))
        for number, row in rows:
            if len(row) == len(header):
                yield row[column], _nameless(number)
            else:
                yield "", f"row {number}: expected {len(header)} cells, got {len(row)}"


def _sheet_cells(path: Path) -> Iterator[Cell]:
    table = read_table(path, lambda header: {_column(path, header): COLUMN})
    for number, cell in zip(table.numbers, table.columns[COLUMN], strict=True):
        yield cell, _nameless(number)


def _parquet_cells(path: Path) -> Iterator[Cell]:
    numbers = count(2)
    header, _ = parquet_header(path)
    column = _column(path, header)
    try:
        lazy = pl.scan_parquet(path, glob=False)
        schema = lazy.collect_schema()
        if schema[column] != pl.String:
            raise DatasetError(f"{path}: {column}: expected text, got {schema[column]}")
        try_batches(path, [column])
        for rows in lazy.select(column).collect_batches(chunk_size=_ROWS_AT_ONCE):
            for cell in rows[column]:
                yield cell or "", _nameless(next(numbers))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise unreadable_table(path, type(error).__name__) from None


def _column(path: Path, header: Sequence[str]) -> str:
    """The one column that means `COLUMN`, as the file calls it."""
    names = [name for name in header if usual_name(name) == COLUMN]
    if len(names) != 1:
        columns = ", ".join(name[:60] for name in header[:20]) or "none"
        raise DatasetError(
            f"{path}: columns: expected one {COLUMN!r}, got {columns}; name image files there, or "
            "pass their folder (UIDs are looked up for labelled data only)"
        )
    return names[0]


def _nameless(number: int) -> str:
    return f"row {number}: {COLUMN}: expected a value, got none"


_CELLS: Mapping[str, Callable[[Path], Iterator[Cell]]] = {
    ".parquet": _parquet_cells,
    ".xlsx": _sheet_cells,
    ".xls": _sheet_cells,
}
"""How a table is read by its ending; any other is CSV."""
