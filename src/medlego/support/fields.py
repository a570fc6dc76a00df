"""What pydantic refuses of a model's fields, in the words of all other errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medlego.support.strict_json import shown

_RULES = {
    "bool": "true or false",
    "date": "a date",
    "dict": "a table of keys",
    "float": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "json": "JSON ({error})",
    "int": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list": "a list",
    "literal_error": "{expected}",
    "missing": "a value",
    "model": "a table of keys",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple": "a list",
}
"""By pydantic's type of an error, or by what stands before its first `_`."""


def field_problems(error: ValidationError, model: type[BaseModel] = BaseModel) -> list[str]:
    """One sentence for each field that a model refused, or for a value of no model."""
    return [_sentence(details, model) for details in error.errors()]


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    place = f"{shown('.'.join(map(str, error['loc'])))}: " if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return place + _unknown(model, error["loc"])
    if error["type"] in ("value_error", "assertion_error"):  # by a validator, in its own words
        said = str(error["ctx"]["error"])
        whole = any(part in said for part in (", got", ";", repr(error["input"])))
        return place + said if whole else f"{place}{said}, {_got(error)}"
    rule = _RULES.get(error["type"]) or _RULES.get(error["type"].partition("_")[0])
    rule = rule and rule.format(**error.get("ctx", {}))
    return f"{place}expected {rule or error['msg'].removeprefix('Input should be ')}, {_got(error)}"


def _got(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "got none"
    return f"got {' '.join(repr(error['input']).split()):.60}"


def _unknown(model: type[BaseModel], place: Sequence[int | str]) -> str:
    *path, key = map(str, place)
    known = [field.alias or name for name, field in _at(model, path).model_fields.items()]
    near = difflib.get_close_matches(key.lower(), known, n=1)
    others = f"known are {', '.join(known)}" if known else "none is known"
    step = f"did you mean {near[0]}?" if near else others
    return f"expected a known key, got {key[:60]!r}; {step}"


def _at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model at a place within a model; keys and numbers of tables and lists lead nowhere."""
    for part in path:
        field = model.model_fields.get(part)
        model = next(_models(field.annotation), model) if field else model
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models of which a type is made, not those within them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
