"""What a verb prints: lines and tables for people, JSON for programs, progress."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.progress import Progress
    from rich.table import Table

LINES_S = ((2.0, 2.0), (60.0, 5.0), (math.inf, 30.0))
"""How many seconds apart `LogProgress` writes lines, until so many have passed."""


def printable(text: str) -> str:
    """A text without what a terminal obeys: control characters, but for new lines and tabs.

    Direction marks, other format characters and bytes that are no UTF-8 are spelt out too.
    """
    return _escaped(text, lambda character: character.encode("unicode_escape").decode())


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def guard_standard_error() -> None:
    """Make what libraries warn of or log `printable`, too: they may quote a file's text."""
    before = warnings.formatwarning

    def formatted(*words: Any, **more: Any) -> str:
        return printable(before(*words, **more))

    def spelt(record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True

    warnings.formatwarning = formatted
    if logging.lastResort is not None:
        logging.lastResort.addFilter(spelt)


def _escaped(text: str, spelt: Callable[[str], str]) -> str:
    from medlego.support import is_unseen

    if text.isascii() and text.replace("\n", " ").isprintable():
        return text
    return "".join(spelt(c) if c not in "\n\t" and is_unseen(c) else c for c in text)


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1]


@dataclass(frozen=True)
class Terminal:
    """The global flags, and the one place where a verb's text meets the screen.

    Text is `printable`, and otherwise as it is: neither rich's markup nor its emoji codes are read.
    """

    json: bool = False
    quiet: bool = False
    file: Path | None = None
    """Where a verb's document goes too; see `emit`."""
    _bars: list[Progress] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def silent(self) -> bool:
        """Whether nothing is printed for people."""
        return self.json or self.quiet

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.silent:
            self._print(printable(text), soft_wrap=True)

    def note(self, *notes: str) -> None:
        """Print each note as a line."""
        for note in notes:
            self.say(f"note: {note}")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
    ) -> None:
        """Print a table, the first column to the left; nothing without rows."""
        if self.silent or not rows:
            return
        from rich import box
        from rich.table import Table

        table = Table(
            title=title and printable(title), box=box.SIMPLE, title_justify="left", padding=(0, 1)
        )
        for number, name in enumerate(columns):
            side: JustifyMethod = "left" if number == 0 else "right"
            table.add_column(printable(name), justify=side, overflow="fold")
        for row in rows:
            table.add_row(*map(printable, row))
        self._print(table)

    def _print(self, text: str | Table, *, soft_wrap: bool = False) -> None:
        """Where a progress bar was in the way it comes again below."""
        for bar in self._bars:
            bar.stop()
        _console().print(text, soft_wrap=soft_wrap)
        for bar in self._bars:
            bar.start()

    def emit(self, document: Any, file: Path | None = None, *, line: bool = False) -> None:
        """Write a verb's one document as JSON: to standard output with `--json`, and to files.

        Args:
            document: what the verb found or did.
            file: written in any case, besides the one of `--json FILE`.
            line: on one line, for a verb that has many documents.
        """
        indent = None if line else 2
        text = _escaped(json.dumps(document, indent=indent, ensure_ascii=False), _in_json)
        for path in (file, self.file):
            if path is not None:
                from medlego.support import write_atomically

                write_atomically(path, (text + "\n").encode())
        if self.json:
            print(text, flush=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A progress bar on standard error, or lines in a log; see `medlego.support.Progress`."""
        if self.silent:
            yield lambda _what, _done, _total: None
            return
        if not sys.stderr.isatty():
            yield LogProgress(warn)
            return
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
            job = bar.add_task("starting", total=None)
            self._bars.append(bar)
            try:
                yield lambda what, done, total: bar.update(
                    job, description=printable(what), completed=done, total=total
                )
            finally:
                self._bars.remove(bar)


class LogProgress:
    """Progress as lines for a log: the first after 2 s, then every 5, after a minute every 30."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock = write, clock
        self._begun = self._written = clock()
        self._first = 0.0, 0, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `medlego.support.Progress`."""
        now = self._clock()
        since, before, whole = self._first
        if total != whole or done < before:
            self._first = since, before, _ = now, done, total
        passed = self._written - self._begun
        if now - self._written < next(apart for until, apart in LINES_S if passed < until):
            return
        self._written = now
        if not total:
            self._write(f"{what}: {done:,}" if done else what)
            return
        left = (total - done) * (now - since) / max(done - before, 1)
        rest = f", {_duration(left)} left" if done > before else ""
        self._write(f"{what}: {done:,} of {total:,}{rest}")


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} seconds" if seconds < 100 else f"{seconds / 60:,.0f} minutes"


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
