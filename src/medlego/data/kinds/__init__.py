"""Kinds of task: one file each, one line each in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medlego.data.kinds.binary import Binary
from medlego.data.kinds.kind import Kind
from medlego.data.kinds.multiclass import Multiclass
from medlego.data.kinds.multilabel import Multilabel
from medlego.data.kinds.ordinal import Ordinal

KINDS: Mapping[str, type[Kind]] = MappingProxyType(
    {kind.name: kind for kind in (Multiclass, Binary, Multilabel, Ordinal)}
)


def find_kind(name: str) -> type[Kind]:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise ValueError(f"expected one of {', '.join(KINDS)}, got {name!a:.60}") from None


def guess_kind(count: int, *, exclusive: bool = True) -> str:
    """The kind of a task of so many labels where nobody states one."""
    if not exclusive:
        return Multilabel.name
    return Binary.name if count == 2 else Multiclass.name
