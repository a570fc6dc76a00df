"""medlego predict --input --output"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medlego.cli.console import Options, emit, progress, say

LINE_EVERY_S = 60.0
"""How often a job says where it stands where there is no terminal, as in a log."""


def into_table(
    options: Options, json: Path | None, directory: Path, source: str, output: Path, **asked: Any
) -> None:
    """Run or end a job over many images, and say what it came to."""
    from medlego.prediction import predict_many

    with progress(options) as bar:
        quiet = options.quiet or options.json or sys.stderr.isatty()
        show = bar if quiet else Lines(lambda line: print(line, file=sys.stderr, flush=True))
        summary = predict_many(directory, source, output, show=show, **asked)
    if summary.before:
        say(options, f"{summary.before:,} of {summary.images:,} images were answered before")
    counts = ", ".join(
        f"{count:,} {what}"
        for count, what in (
            (summary.rows - summary.abstained - summary.unreadable, "answers"),
            (summary.abstained, "images without an answer"),
            (summary.unreadable, "unreadable images"),
        )
    )
    rate = (summary.images - summary.before) / summary.seconds
    say(options, f"{summary.images:,} images: {counts}; {rate:,.1f} images/s")
    say(options, f"wrote {output}")
    emit(options, summary.as_dict(), json)


class Lines:
    """A progress in lines, one now and then."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock, self._said = write, clock, clock()
        self._first: tuple[float, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `medlego.support.Progress`."""
        now = self._clock()
        if total and self._first is None:
            self._first = now, done
        if now - self._said < LINE_EVERY_S:
            return
        self._said = now
        if not total:
            self._write(f"{what}: {done:,}")
            return
        assert self._first is not None
        since, before = self._first
        left = (total - done) * (now - since) / max(done - before, 1)
        self._write(f"{done:,} of {total:,} images, {what}, {left / 60:,.0f} minutes left")
