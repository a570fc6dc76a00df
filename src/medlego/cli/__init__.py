"""The command line: one file per verb, each of which parses, calls and prints."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of `medlego`: exit 0 done, 1 failed, 2 bad input."""
    from medlego.cli.app import app
    from medlego.cli.outcome import run_app
    from medlego.cli.terminal import guard_standard_error

    guard_standard_error()
    sys.exit(run_app(app))
