"""TOML that people write, as validated models."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from medlego.errors import MedLegoError
from medlego.support.documents import read_fields
from medlego.support.files import read_expected
from medlego.support.strict_json import MAX_DEPTH, too_deep

MAX_TOML_BYTES = 1 << 20
_LONG_KEY = re.compile(
    rb"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*\.[ \t]*){%d}""" % MAX_DEPTH
)
"""A dotted key of many parts, with the square of which tomllib's memory grows."""

_Model = TypeVar("_Model", bound=BaseModel)


def load_toml(
    model: type[_Model], path: str | Path, error: type[MedLegoError], what: str
) -> _Model:
    """Read a TOML file as a model.

    Args:
        model: what its fields must be.
        path: the file.
        error: the class to raise.
        what: for messages, for example `a trust file`.

    Raises:
        MedLegoError: of the class given: no such file, not TOML, or wrong fields, all together.
    """
    return read_fields(model, load_tables(path, error, what), name=str(path), error=error)


def load_tables(path: str | Path, error: type[MedLegoError], what: str) -> dict[str, Any]:
    """The keys of a TOML file as they stand.

    Raises:
        MedLegoError: of the class given: no such file, or not TOML.
    """
    content = read_expected(Path(path), MAX_TOML_BYTES, error, what)
    return parse_tables(content, error, f"{path}: expected {what} in TOML")


def parse_tables(content: bytes, error: type[MedLegoError], complaint: str) -> dict[str, Any]:
    """The keys of a TOML text; what is no TOML is refused with the complaint.

    Raises:
        MedLegoError: of the class given.
    """
    deep = _LONG_KEY.search(content) is not None
    tables: dict[str, Any] = {}
    try:
        tables = {} if deep else tomllib.loads(content.decode())
    except RecursionError:
        deep = True
    except ValueError as failure:
        raise error(f"{complaint} ({failure})") from failure
    if deep or too_deep(tables):
        raise error(f"{complaint} (nested too deep)")
    if _has_huge(tables):
        raise error(f"{complaint} (a whole number needs more than 64 bits)")
    return tables


def _has_huge(value: Any) -> bool:
    """Whether a number is in it that TOML does not allow, and that Python may refuse to spell."""
    if isinstance(value, dict | list):
        return any(map(_has_huge, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
