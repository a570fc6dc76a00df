"""Parquet files are tried in a process of their own before they are read in this one.

Damaged ones can end the process that reads them: polars asks for as much memory as they claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medlego.errors import DatasetError
from medlego.support import Pool, WorkerError

TIMEOUT_S = 600.0


def check_parquet(path: Path, columns: Sequence[str] = (), *, whole: bool = True) -> None:
    """Try to read some columns, or the schema and the number of rows.

    Args:
        path: the file.
        columns: to be read.
        whole: at once; or else in batches, of which one is in memory.

    Raises:
        DatasetError: they cannot be read, not in `TIMEOUT_S`, or not by a process that lives on.
    """
    try:
        request = {"path": str(path.resolve()), "columns": list(columns), "whole": whole}
        answer, _ = _pool.ask(request, b"", TIMEOUT_S)
        problem = answer.get("error")
    except WorkerError as error:
        problem = str(error)
    if problem:
        raise DatasetError(
            f"{path}: expected a whole Parquet file, got another ({problem}); write it again"
        )


_pool = Pool("medlego.data.readers.parquet_worker")
