"""Merge methods: one file each, one line each in `METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medlego.errors import MergeError
from medlego.merge import dare, iso, lego, linear, lora_lego, regmean, ties, tsv, wudi
from medlego.merge.coefficients import (
    AUTO,
    RULES,
    Coefficients,
    check_coefficients,
    check_kind,
    find_rule,
)
from medlego.merge.depth import check_slope, with_slope
from medlego.merge.method import Grams, Merged, Method, TaskVector
from medlego.merge.stream import merge_stream
from medlego.merge.svc import calibrate_singular_values

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            linear.METHOD,
            lego.METHOD,
            ties.TIES,
            ties.CORE_TIES,
            ties.KNOTS_TIES,
            dare.DARE,
            dare.DARE_TIES,
            dare.CORE_DARE_TIES,
            tsv.METHOD,
            iso.ISO_C,
            iso.ISO_CTS,
            lora_lego.METHOD,
            wudi.METHOD,
            regmean.METHOD,
        )
    }
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
    "AUTO",
    "DEFAULT_METHOD",
    "METHODS",
    "RULES",
    "Coefficients",
    "Grams",
    "Merged",
    "Method",
    "TaskVector",
    "calibrate_singular_values",
    "check_coefficients",
    "check_kind",
    "check_slope",
    "find_method",
    "find_rule",
    "merge_stream",
    "with_slope",
]
