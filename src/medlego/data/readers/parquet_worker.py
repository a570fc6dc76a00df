"""The process that tries Parquet files, `python -m medlego.data.readers.parquet_worker`.

A request has `path`, `columns` and whether they are read as a `whole`; an answer has `error` where
they cannot be read. Without columns the schema and the number of rows are read.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from medlego.support import serve_requests

_ROWS_AT_ONCE = 100_000


def read(request: dict[str, Any], _content: bytes) -> tuple[dict[str, Any], bytes]:
    """Read what is asked for, and forget it."""
    try:
        lazy = pl.scan_parquet(request["path"], glob=False)
        lazy.collect_schema()
        wanted = lazy.select(request["columns"] or pl.len())
        if request["whole"]:
            wanted.collect()
        else:
            for _ in wanted.collect_batches(chunk_size=_ROWS_AT_ONCE):
                pass
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        return {"error": type(error).__name__}, b""
    return {}, b""


if __name__ == "__main__":
    serve_requests(read)
