"""From an exception to one line on the terminal and an exit code."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from medlego.cli.terminal import warn
from medlego.errors import MedLegoError

_UsageError: Any = typer.BadParameter.__base__  # typer does not export it

_WORDS = {
    r"Got unexpected extra argument\S* \((.*)\)": "expected no further words, got: {}",
    r"Missing \w+ (.*?)\.": "{}: expected a value, got none",
    r"Option (.*) requires an argument\.": "{}: expected a value, got none",
    r"Option (.*) does not take a value\.": "{}: expected no value, got one",
    r"No such option: (\S+)": "{}: expected a known option",
    r"No such option: (\S+) \(Possible options: (.*)\)": "{}: expected a known option, such as {}",
    r"No such command (.*)\.": "{}: expected a known command",
    r"No such command (.*)\. Did you mean (.*)\?": "{}: expected a known command, such as {}",
}
"""How the parser says it, and how all errors do; "unexpected" is said of own faults alone."""

_ANYWHERE = ("--debug", "--quiet")
"""Global flags that may also stand behind the verb."""


def run_app(app: Callable[..., Any], arguments: list[str] | None = None) -> int:
    """Run the application and return its exit code.

    A `MedLegoError` prints its message; any other exception is our fault and says so. The
    traceback is shown with `--debug` only.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    places = [place for place in range(end) if _is_flag(words[:end], place)]
    front = [words[place] for place in places]
    rest = [word for place, word in enumerate(words[:end]) if place not in places]
    debug = "--debug" in front
    try:
        line = [*front, *rest, *words[end:]]
        return app(args=line, prog_name="medlego", standalone_mode=False) or 0
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return int(error.exit_code)
        return _fail(_usage_error(error), error.exit_code, debug)
    except MedLegoError as error:
        return _fail(str(error), error.exit_code, debug)
    except BrokenPipeError:
        return 1
    except OSError as error:
        place = error.filename or "a file"
        return _fail(f"{place}: {error.strerror or error}", 1, debug)
    except Exception as error:
        fault = f"unexpected {type(error).__name__}: {error}; run with --debug and report it"
        return _fail(fault, 1, debug)


def _is_flag(words: list[str], place: int) -> bool:
    """Whether a word is a global flag; `--json` is one unless a name that ends in .json follows it.

    So that `--json *.png` cannot write over an image.
    """
    if words[place] != "--json":
        return words[place] in _ANYWHERE
    return place + 1 == len(words) or not words[place + 1].lower().endswith(".json")


def _usage_error(error: Any) -> str:
    """What the parser refuses, in one line."""
    said = str(error.format_message())
    if type(error.__cause__).__name__ == "ValidationError":  # typer reads values by pydantic
        from medlego.support import field_problems

        said = f"{' / '.join(error.param.opts)}: {'; '.join(field_problems(error.__cause__))}"
    for pattern, words in _WORDS.items():
        if match := re.fullmatch(pattern, said, re.DOTALL):
            said = words.format(*(part.replace("'", "") for part in match.groups()))
            break
    return said if error.ctx is None else f"{said}; see {error.ctx.command_path} -h"


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        warn(traceback.format_exc().rstrip())
    warn(f"medlego: {message}")
    return code
