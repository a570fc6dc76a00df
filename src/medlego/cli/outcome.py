"""From an exception to one line on the terminal and an exit code."""

from __future__ import annotations

import sys
import traceback

import click
import typer

from medlego.errors import MedLegoError


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the application and return its exit code.

    A `MedLegoError` prints its message; any other exception is our fault and says so. The
    traceback is shown with `--debug` only.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        code = app(args=given, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.Abort:
        return _say("stopped", 1, debug)
    except KeyboardInterrupt:
        return _say("stopped; run the same command again to go on", 1, debug)
    except click.ClickException as error:
        error.show()
        return 2
    except MedLegoError as error:
        return _say(str(error), error.exit_code, debug)
    except BrokenPipeError:
        return 1
    except OSError as error:
        place = error.filename or "a file"
        return _say(f"{place}: {error.strerror or error}", 1, debug)
    except Exception as error:
        return _say(f"unexpected {type(error).__name__}: {error}; report it with --debug", 1, debug)


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"medlego: {message}", file=sys.stderr)
    return code
