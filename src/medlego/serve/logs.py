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
    """A fault of ours: its kind and where, not its message, which may quote input."""
    log(event, logging.ERROR, **fields, **_fault(error))


class JsonLines(logging.Formatter):
    """One JSON object a record; others' messages are left out, since they may quote input."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER.name:
            told |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        else:
            told |= {"event": "library", "logger": record.name}
            if record.name.startswith(_TRUSTED):
                told["message"] = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            told |= _fault(record.exc_info[1])
        return json.dumps(told, ensure_ascii=False)


@contextmanager
def log_to(stream: TextIO = sys.stderr) -> Iterator[None]:
    """Send every log, warning and thread's fault of this process to a stream as lines of JSON."""
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
    warnings.showwarning, threading.excepthook, sys.unraisablehook = _warned, _ended, _ignored
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)


def _warned(*told: Any, **_more: Any) -> None:
    """Called with message, category, file's name, line and two more."""
    _, category, filename, lineno, *_ = told
    where = [f"{Path(filename).name}:{lineno}"]
    log("warning", logging.WARNING, warning=category.__name__, where=where)


def _ended(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and told.exc_type is not SystemExit:
        log_failure("fault", told.exc_value)


def _ignored(told: sys.UnraisableHookArgs) -> None:
    if told.exc_value is not None:
        log_failure("fault", told.exc_value)


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "where": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-8:]],
    }
