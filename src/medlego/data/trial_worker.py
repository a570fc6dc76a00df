"""The process that tries tables, `python -m medlego.data.trial_worker`.

A request has `path`, `columns` and whether they are read as a `whole`; an answer has `error` where
they cannot be read. Without columns a Parquet file's schema and number of rows are read, and all
of an Excel file.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from medlego.support import limit_resources, serve_requests

MEMORY_BYTES = 16 << 30
"""Address space; what needs more would endanger the machine."""

_ROWS_AT_ONCE = 100_000


def read(request: dict[str, Any], _content: bytes) -> tuple[dict[str, Any], bytes]:
    """Read what is asked for, and forget it."""
    try:
        if request["path"].lower().endswith(".parquet"):
            _read_parquet(**request)
        else:
            pl.read_excel(request["path"], raise_if_empty=False)
    except ModuleNotFoundError:  # the caller says which
        return {}, b""
    except (Exception, pl.exceptions.PanicException) as error:  # calamine's too, of many kinds
        return {"error": type(error).__name__}, b""
    return {}, b""


def _read_parquet(path: str, columns: list[str], whole: bool, **_: Any) -> None:
    lazy = pl.scan_parquet(path, glob=False)
    lazy.collect_schema()
    wanted = lazy.select(columns or pl.len())
    if whole:
        wanted.collect()
    else:
        for _batch in wanted.collect_batches(chunk_size=_ROWS_AT_ONCE):
            pass


if __name__ == "__main__":
    limit_resources(MEMORY_BYTES, file_bytes=0)
    serve_requests(read)
