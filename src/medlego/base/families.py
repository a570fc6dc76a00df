"""The table of base families: a kind of vision transformer is a file and a line here."""

from __future__ import annotations

from torch import nn

from medlego.base.family import Family
from medlego.base.timm_vit import TimmVit
from medlego.errors import BaseError

FAMILIES: dict[str, Family] = {"timm": TimmVit()}


def family_of(module: nn.Module, subject: str = "base") -> Family:
    """The family of a base's module or of an adapted copy of it.

    Args:
        module: any.
        subject: what an error begins with.

    Raises:
        BaseError: a module of no family in the table.
    """
    for family in FAMILIES.values():
        if family.owns(module):
            return family
    known = ", or ".join(family.description for family in FAMILIES.values())
    raise BaseError(
        f"{subject}: expected {known}, got {type(module).__name__}; choose one of those"
    )
