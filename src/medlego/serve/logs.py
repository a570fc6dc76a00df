"""Logs as lines of JSON, without anything that came in: no names, no headers, no queries."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

LOGGER = logging.getLogger("medlego.serve")

_TRUSTED = ("medlego.", "uvicorn.")
"""Loggers whose messages hold no input."""


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """One line about the service itself."""
    LOGGER.log(level, event, extra={"fields": fields})


def log_failure(event: str, error: BaseException, **fields: Any) -> None:
    """A fault of the service: its kind and place, not its message, which may quote input."""
    log(event, logging.ERROR, **fields, **_fault(error))


class JsonLines(logging.Formatter):
    """One JSON object a record; messages of libraries are left out, since they may quote input."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER.name:
            line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        else:
            line |= {"event": "library", "logger": record.name}
            if record.name.startswith(_TRUSTED):
                line["message"] = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            line |= _fault(record.exc_info[1])
        return json.dumps(line)


@contextmanager
def log_to(stream: TextIO = sys.stderr) -> Iterator[None]:
    """Send every log, warning and unhandled fault of this process to a stream as lines of JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in (LOGGER.name, "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a line a damaged form
    warnings.showwarning, threading.excepthook, sys.unraisablehook = _warn, _unhandled, _unhandled
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)


def _warn(*arguments: Any, **_more: Any) -> None:
    """Called with message, category, file's name, line and two more."""
    _, category, filename, lineno, *_ = arguments
    where = [f"{Path(filename).name}:{lineno}"]
    log("warning", logging.WARNING, warning=category.__name__, where=where)


def _unhandled(fault: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    if fault.exc_value is not None and fault.exc_type is not SystemExit:
        log_failure("fault", fault.exc_value)


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "where": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-8:]],
    }
