"""The process that reads Parquet and Excel files, `python -m medlego.data.table_worker`.

A request has `path`, `columns` and what is `wanted`: a Parquet file's `header`, the `frame` of
these columns (of an Excel file all of them) as Arrow IPC, or `nothing` but to have read them. An
answer has `error` where they cannot be read, and `missing` where a package is absent.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import polars as pl

from medlego.support import limit_resources, serve_requests

MEMORY_BYTES = 16 << 30
"""Address space; what needs more would endanger the machine."""

_ROWS_AT_ONCE = 100_000


def read(request: dict[str, Any], _content: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer a request."""
    try:
        return _answer(**request)
    except ModuleNotFoundError as error:
        return {"missing": str(error.name)}, b""
    except (Exception, pl.exceptions.PanicException) as error:  # calamine's too, of many kinds
        return {"error": type(error).__name__}, b""


def _answer(path: str, wanted: str, columns: list[str], **_: Any) -> tuple[dict[str, Any], bytes]:
    if not path.lower().endswith(".parquet"):
        return {}, _ipc(pl.read_excel(path, raise_if_empty=False))
    lazy = pl.scan_parquet(path, glob=False)
    if wanted == "header":
        names, rows = lazy.collect_schema().names(), lazy.select(pl.len()).collect().item()
        return {"columns": names, "rows": int(rows)}, b""
    chosen = lazy.select(columns)
    if wanted == "frame":
        return {}, _ipc(chosen.collect())
    for _batch in chosen.collect_batches(chunk_size=_ROWS_AT_ONCE):
        pass
    return {}, b""


def _ipc(frame: pl.DataFrame) -> bytes:
    stream = BytesIO()
    frame.write_ipc(stream)
    return stream.getvalue()


if __name__ == "__main__":
    limit_resources(MEMORY_BYTES, file_bytes=0)
    serve_requests(read)
