"""Tables that are written, in the format that their ending names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medlego.errors import SettingsError

TABLES = (".csv", ".parquet")
"""Endings of tables that are written; the ending decides the format."""


def table_suffix(path: str | Path) -> str:
    """The ending of a table to write, in lower case; call it before any work.

    Raises:
        SettingsError: another than those in `TABLES`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TABLES:
        raise SettingsError(
            f"{path}: expected a name that ends in {' or '.join(TABLES)}, got {suffix or 'none'}; "
            "name the table so"
        )
    return suffix


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV with a header, lines ended by a line feed."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
