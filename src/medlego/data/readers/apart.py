"""Parquet and Excel files are read in a process of their own.

Damaged ones can end the process that reads them: libraries ask for as much memory as they claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from medlego.errors import DatasetError
from medlego.support import Pool, WorkerError

TIMEOUT_S = 600.0


def parquet_header(path: Path) -> tuple[list[str], int]:
    """A Parquet file's columns, and how many rows it has.

    Raises:
        DatasetError: it cannot be read, not in `TIMEOUT_S`, or not by a process that lives on.
    """
    answer, _ = _ask(path, "header")
    return answer["columns"], answer["rows"]


def read_apart(path: Path, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Some columns of a Parquet file, or all of an Excel file.

    Raises:
        DatasetError: as `parquet_header`, or the package that reads Excel files is absent.
    """
    _, content = _ask(path, "frame", columns)
    return pl.read_ipc(BytesIO(content))


def try_batches(path: Path, columns: Sequence[str]) -> None:
    """Read some columns of a Parquet file in batches and forget them, before they are read here.

    Raises:
        DatasetError: as `parquet_header`.
    """
    _ask(path, "nothing", columns)


def unreadable_table(path: Path, problem: str) -> DatasetError:
    """What is raised of a file that cannot be read."""
    kind, advice = "Parquet", "write it again"
    if path.suffix.lower() != ".parquet":
        kind, advice = "Excel", "save the table as CSV UTF-8"
    return DatasetError(f"{path}: expected a whole {kind} file, got another ({problem}); {advice}")


def _ask(path: Path, wanted: str, columns: Sequence[str] = ()) -> tuple[dict[str, Any], bytes]:
    # The path as it is called, since a link's target may have another ending.
    request = {"path": str(path.absolute()), "wanted": wanted, "columns": list(columns)}
    try:
        answer, content = _pool.ask(request, b"", TIMEOUT_S)
    except WorkerError as error:
        raise unreadable_table(path, str(error)) from None
    if "missing" in answer:
        raise DatasetError(
            f"{path}: expected the package fastexcel to read Excel files, got none installed; "
            "pip install 'medlego[excel]', or save the table as CSV UTF-8"
        )
    if "error" in answer:
        raise unreadable_table(path, answer["error"])
    return answer, content


_pool = Pool("medlego.data.table_worker")
