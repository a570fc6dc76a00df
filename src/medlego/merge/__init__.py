"""Merge methods: one file each, one line each in `METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medlego.errors import MergeError
from medlego.merge import lego, linear
from medlego.merge.coefficients import Coefficients, resolve_coefficients
from medlego.merge.method import Merged, Method, TaskVector

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (linear.METHOD, lego.METHOD)}
)
DEFAULT_METHOD = "linear"


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        MergeError: there is none.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise MergeError(f"method: expected one of {', '.join(METHODS)}, got {name!r}") from None


__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Coefficients",
    "Merged",
    "Method",
    "TaskVector",
    "find_method",
    "resolve_coefficients",
]
