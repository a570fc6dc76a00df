"""Merge methods: one file each, one line each in `METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medlego.errors import MergeError
from medlego.merge.method import Method
from medlego.merge.methods import dare, iso, lego, linear, lora_lego, regmean, ties, tsv, wudi

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
