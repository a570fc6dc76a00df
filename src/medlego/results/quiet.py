"""highdicom without its logs, which quote values and with them patients' data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from medlego.dicom.quiet import quietly

LIBRARIES = ("highdicom", "dicomweb_client")


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
