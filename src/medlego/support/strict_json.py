"""JSON without leeway: read with each key once and finite 64-bit numbers, spelled in one way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from medlego.support.characters import is_plain

MAX_DEPTH = 100
"""Objects and lists within each other; what walks a document may recurse."""
_TOO_DEEP = f"expected JSON of at most {MAX_DEPTH} levels, got deeply nested text"


def parse_object(text: bytes) -> dict[str, Any]:
    """Read one JSON object in UTF-8.

    Raises:
        ValueError: anything else, a key twice in one object, NaN, infinity, a number beyond
            float64 or a signed 64-bit integer, or more than `MAX_DEPTH` levels.
    """
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"expected a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    if too_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def too_deep(document: Mapping[str, Any]) -> bool:
    """Whether there are more than `MAX_DEPTH` objects and lists within each other."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        inner = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
    return bool(level)


def spell(document: Mapping[str, Any]) -> bytes:
    """JSON in its one spelling (docs/FORMAT.md): sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: NaN, infinity or text that is not Unicode.
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def text_problems(document: Any) -> list[str]:
    """One sentence for each key or value of a parsed document that is no plain text."""
    return [
        f"{shown(place)}: expected text without control characters and surrogates, got {text!a:.60}"
        for place, text in _texts(document, "")
        if not is_plain(text)
    ]


def shown(text: str) -> str:
    """Text out of a file, short and without control characters."""
    return repr(text[:120])[1:-1]


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield place or "document", key
            yield from _texts(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{place}.{number}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:20]} is not a finite number")
    return value


def _whole(number: str) -> int:
    if not -(2**63) <= (value := int(number)) < 2**63:
        raise ValueError(f"{number[:20]} is not a 64-bit integer")
    return value
