"""TOML files that people write, as validated models."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medlego.errors import MedLegoError, raise_all
from medlego.support.files import read_expected
from medlego.support.strict_json import field_problems

MAX_TOML_BYTES = 1 << 20

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
    content = read_expected(Path(path), MAX_TOML_BYTES, error, what)
    try:
        return model.model_validate(tomllib.loads(content.decode()))
    except ValidationError as failure:
        raise_all(error, str(path), field_problems(failure))
        raise
    except ValueError as failure:
        raise error(f"{path}: expected {what} in TOML ({failure})") from failure
