"""What a verb prints: lines and tables for people, JSON for programs, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 60.0
"""How often `LogProgress` writes a line."""


@dataclass(frozen=True)
class Terminal:
    """The global flags, and the one place where a verb's text meets the screen.

    Text is printed as it is: neither rich's markup nor its emoji codes are read in it.
    """

    json: bool = False
    quiet: bool = False

    @property
    def silent(self) -> bool:
        """Whether nothing is printed for people."""
        return self.json or self.quiet

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.silent:
            _console().print(text, soft_wrap=True)

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

        table = Table(title=title, box=box.SIMPLE, title_justify="left", padding=(0, 1))
        for number, name in enumerate(columns):
            table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        _console().print(table)

    def emit(self, document: Any, file: Path | None = None) -> None:
        """Write a document as JSON: to standard output with `--json`, and to `file` if given."""
        text = json.dumps(document, indent=2, ensure_ascii=False)
        if file is not None:
            from medlego.support import write_atomically

            write_atomically(file, (text + "\n").encode())
        if self.json:
            print(text)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A progress bar on standard error, or lines in a log; see `medlego.support.Progress`."""
        if self.silent:
            yield lambda _what, _done, _total: None
            return
        if not sys.stderr.isatty():
            yield LogProgress(lambda line: print(line, file=sys.stderr, flush=True))
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
            yield lambda what, done, total: bar.update(
                job, description=what, completed=done, total=total
            )


class LogProgress:
    """Progress as a line once a minute, for a log."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock, self._written = write, clock, clock()
        self._first: tuple[float, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `medlego.support.Progress`."""
        now = self._clock()
        if total and self._first is None:
            self._first = now, done
        if now - self._written < LINE_EVERY_S:
            return
        self._written = now
        if not total or self._first is None:
            self._write(f"{what}: {done:,}")
            return
        since, before = self._first
        left = (total - done) * (now - since) / max(done - before, 1)
        self._write(f"{what}: {done:,} of {total:,}, {left / 60:,.0f} minutes left")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
