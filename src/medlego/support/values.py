"""Values: how they show themselves, and what may leave its process."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from enum import Enum
from typing import Any, ClassVar, NoReturn

MAX_SHOWN = 300
_MAX_TEXT = 32


def shortened(text: str) -> str:
    """A text of at most `MAX_SHOWN` characters."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


class ShortRepr:
    """A dataclass or pydantic model in one line: no tensor is printed, no text out of a collection.

    Arrays show type and shape, collections how many items, values within it their names. What is
    absent, empty or as by default is left out, and so is a field that is declared with
    `repr=False`, as paths and everything that identifies must be. A dataclass needs `repr=False`
    itself, or it gets its own.
    """

    def __repr__(self) -> str:
        return shortened(f"{type(self).__name__}({', '.join(_fields(self))})")

    def __str__(self) -> str:
        return repr(self)


class NoPickle:
    """What cannot or must not leave its process: keys, open connections, engines."""

    _instead: ClassVar[str]

    def __init_subclass__(cls, *, instead: str) -> None:
        """`instead`: what to do in another process, for the message."""
        super().__init_subclass__()
        cls._instead = instead

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__}: expected not to be pickled; {self._instead}")


def _fields(value: Any) -> Iterator[str]:
    declared = getattr(value, "__dataclass_fields__", None) or type(value).model_fields
    for name, field in declared.items():
        own = getattr(value, name)
        by_default = type(own) is type(field.default) and own == field.default
        if field.repr and not by_default and (text := _brief(own)):
            yield f"{name}={text}"


def _brief(value: Any) -> str:
    """A few words, none for what is absent or empty."""
    if value is None:
        return ""
    if isinstance(value, bool | int | Enum):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return repr(value if len(value) <= _MAX_TEXT else f"{value[:12]}…")
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    if isinstance(value, ShortRepr):
        name = getattr(value, "name", None)
        return f"{type(value).__name__}({_brief(name) if isinstance(name, str) else '…'})"
    if isinstance(value, Sized):
        unit = "byte" if isinstance(value, bytes) else "item"
        return f"<{len(value)} {unit}{'s' * (len(value) > 1)}>" if len(value) else ""
    return f"<{type(value).__name__}>"
