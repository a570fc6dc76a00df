"""DICOM libraries kept from logging: their warnings quote values, and with them patients' data."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config

from medlego.images.mending import WARNING

MAX_WARNING = 200
"""Characters of a library's warning that are kept."""

LIBRARIES = ("highdicom", "dicomweb_client")

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """Run pydicom with checks of values off and with nothing said.

    What it switches is global to the process, so threads take turns and everything is put back.
    Parsing holds the interpreter's lock anyway; decoding pixels stays outside.
    """
    logger = logging.getLogger("pydicom")
    with _ONE_AT_A_TIME, warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        disabled, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = disabled


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what libraries warn of while they decode pixels; of these they know only numbers."""
    said: list[str] = []
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        yield said
    texts = (" ".join(str(record.message).split()) for record in records)
    said += dict.fromkeys(f"{WARNING}decoder: {text[:MAX_WARNING]}" for text in texts)


@contextmanager
def nothing_said() -> Iterator[None]:
    """As `quietly`, for the libraries that make DICOM objects and send them too."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    with quietly():
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
