"""Write docs/cli.md from the commands' own help; a test compares the two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERBS = (
    "",
    "train",
    "refit",
    "adapt",
    "assemble",
    "inspect",
    "evaluate",
    "check",
    "data",
    "data check",
    "data remember",
    "screen",
    "predict",
    "serve",
    "dicomweb",
    "dicomweb analyse",
    "dicomweb watch",
    "card",
    "head-round",
    "head-round export",
    "head-round fit",
    "head-round import",
    "edit",
    "edit add",
    "edit remove",
    "edit update",
    "edit undo",
    "edit redo",
    "edit verify",
    "edit log",
    "edit diff",
    "store",
    "store ls",
    "store add",
    "store rm",
    "store gc",
    "store push",
    "store pull",
    "keys",
    "keys new",
    "keys show",
    "sign",
    "verify",
    "import",
    "import peft",
    "import melo",
    "export",
    "export peft",
    "export timm",
    "export onnx",
    "demo",
)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

HEAD = """# Command line

Written by `make docs` from the commands' own help. Exit codes: 0 done, 1 failed, 2 bad input.
`--quiet` and `--debug` may stand before or behind the verb; `medlego --json VERB …` prints JSON.
"""


def reference() -> str:
    """The page's text."""
    parts = [HEAD]
    for verb in VERBS:
        words = ["medlego", *verb.split()]
        parts.append(f"\n## {' '.join(words)}\n\n```text\n{_help(verb)}\n```\n")
    return "".join(parts)


def _help(verb: str) -> str:
    code = "import sys; sys.argv[0] = 'medlego'; from medlego.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, *verb.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "96", "TERMINAL_WIDTH": "96", "NO_COLOR": "1"},
    )
    return "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(reference())
