"""Write docs/cli.md from the commands' own help; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medlego.cli.app import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 80
"""Columns of the help, whatever the terminal."""

HEAD = """# Command line

Written by `make docs` from the commands' own help. Exit codes: 0 done, 1 failed, 2 bad input.
`--quiet`, `--debug` and `--json` may stand before or behind the verb. `--json` prints the verb's
one JSON document and nothing else; `--json FILE` behind the verb writes it. An error goes to
standard error, and standard output stays empty unless the verb has findings (`check`,
`data check`, `screen`, `edit verify`, `doctor`). `medlego --install-completion` completes verbs,
options and words of tables on Tab; `medlego doctor` says what a bug report needs.
"""


def reference() -> str:
    """The page's text."""
    return HEAD + "".join(
        f"\n## {words}\n\n```text\n{text}\n```\n" for words, text in _helps(app, "medlego")
    )


def _helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """The words and the help of a command and of those below it."""
    context = command.make_context(name, [], parent, resilient_parsing=True, terminal_width=WIDTH)
    text = context.command.get_help(context)
    yield context.command_path, "\n".join(line.rstrip() for line in text.strip().splitlines())
    for below, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, below, context)


if __name__ == "__main__":
    PAGE.write_text(reference())
