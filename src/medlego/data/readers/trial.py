"""Parquet and Excel files are tried in a process of their own before they are read in this one.

Damaged ones can end the process that reads them: libraries ask for as much memory as they claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medlego.errors import DatasetError
from medlego.support import Pool, WorkerError

TIMEOUT_S = 600.0


def try_table(path: Path, columns: Sequence[str] = (), *, whole: bool = True) -> None:
    """Try to read some columns; without any, a Parquet file's schema, or all of an Excel file.

    Args:
        path: the file, whose ending says what it is.
        columns: to be read.
        whole: at once; or else in batches, of which one is in memory.

    Raises:
        DatasetError: they cannot be read, not in `TIMEOUT_S`, or not by a process that lives on.
    """
    # The path as it is called, since a link's target may have another ending.
    request = {"path": str(path.absolute()), "columns": list(columns), "whole": whole}
    try:
        answer, _ = _pool.ask(request, b"", TIMEOUT_S)
        problem = answer.get("error")
    except WorkerError as error:
        problem = str(error)
    if problem:
        raise unreadable_table(path, problem)


def unreadable_table(path: Path, problem: str) -> DatasetError:
    """What is raised of a file that cannot be read."""
    kind, advice = "Parquet", "write it again"
    if path.suffix.lower() != ".parquet":
        kind, advice = "Excel", "save the table as CSV UTF-8"
    return DatasetError(f"{path}: expected a whole {kind} file, got another ({problem}); {advice}")


_pool = Pool("medlego.data.trial_worker")
