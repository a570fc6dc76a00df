"""Tables that are written, in the format that their ending names."""

from __future__ import annotations

import io
from pathlib import Path

from medlego.errors import SettingsError
from medlego.support.files import write_atomically

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


def write_table(text: str, path: Path) -> None:
    """Write a table that is given as CSV.

    Raises:
        SettingsError: as `table_suffix`.
    """
    content = text.encode()
    if table_suffix(path) == ".parquet":
        import polars as pl

        stream = io.BytesIO()
        pl.read_csv(content, infer_schema_length=None).write_parquet(stream)
        content = stream.getvalue()
    write_atomically(path, content)
