"""Readers of data sets: one file each, one line each in `READERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medlego.data.readers.columns import Columns
from medlego.data.readers.folder import read_folder
from medlego.data.readers.labels import Uncertain
from medlego.data.readers.manifest import read_manifest
from medlego.data.readers.npz import read_npz
from medlego.data.readers.table import TABLE_SUFFIXES
from medlego.data.samples import Dataset, TaskHints


class DataSource(NamedTuple):
    """What is to be read, and how; `folder` holds a table's images where it is not the table's."""

    path: Path
    hints: TaskHints
    seed: int
    folder: Path | None
    keep_torn: bool
    columns: Columns | None = None
    uncertain: Uncertain = "unknown"


class Reader(NamedTuple):
    """One shape of data set; `shape` is what errors and help call it."""

    shape: str
    accepts: Callable[[Path], bool]
    read: Callable[[DataSource], Dataset]
    images_elsewhere: bool = False
    """Whether `TABLE@FOLDER` makes sense for it."""


READERS = (
    Reader(
        "a folder",
        Path.is_dir,
        lambda of: read_folder(of.path, of.hints, of.seed, keep_torn=of.keep_torn),
    ),
    Reader(
        "a table (.csv, .tsv, .parquet, .xlsx)",
        lambda path: path.suffix.lower() in TABLE_SUFFIXES,
        lambda of: read_manifest(
            of.path,
            of.hints,
            of.seed,
            folder=of.folder,
            keep_torn=of.keep_torn,
            columns=of.columns,
            uncertain=of.uncertain,
        ),
        images_elsewhere=True,
    ),
    Reader(
        "a .npz",
        lambda path: path.suffix.lower() == ".npz",
        lambda of: read_npz(of.path, of.hints),
    ),
)
