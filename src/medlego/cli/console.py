"""What verbs share in talking to a person: tables, JSON, progress bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """The global flags."""

    json: bool = False
    quiet: bool = False
    debug: bool = False


def say(options: Options, text: str) -> None:
    """Print a line for a person; silent with `--quiet` or `--json`."""
    if not (options.quiet or options.json):
        from rich.console import Console

        Console(highlight=False).print(text, soft_wrap=True)


def show_table(
    options: Options, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = ""
) -> None:
    """Print a table, the first column to the left; silent with `--quiet` or `--json`."""
    if options.quiet or options.json:
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE, title_justify="left", padding=(0, 1))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)


def emit(options: Options, document: Any, file: Path | None = None) -> None:
    """Write a document as JSON: to standard output with `--json`, and to `file` where given."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if file is not None:
        from medlego.support import write_atomically

        write_atomically(file, (text + "\n").encode())
    if options.json:
        print(text)


@contextmanager
def progress(options: Options) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error; silent with `--quiet` or `--json`."""
    if options.quiet or options.json:
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        job = bar.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(job, description=what, completed=done, total=total)

        yield show
