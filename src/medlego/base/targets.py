"""Adapted linear maps: which rows of which module a delta is added to.

Where a family fuses q, k and v in one linear map, a target is a slice of its output rows. Targets
of one base never overlap. Their names are the same in all families.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base.families import FAMILIES, family_of
from medlego.base.family import Family
from medlego.errors import BaseError

_PARTS = {"q": "attn", "k": "attn", "v": "attn", "proj": "attn", "fc1": "mlp", "fc2": "mlp"}
TARGET_KINDS = tuple(_PARTS)
DEFAULT_KINDS = ("q", "v")


@dataclass(frozen=True, order=True)
class Target:
    """One adapted linear map: output rows [start, stop) of the weight of `module`."""

    name: str
    module: str
    start: int
    stop: int
    in_features: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a delta on this target, (out, in)."""
        return self.stop - self.start, self.in_features

    @property
    def block(self) -> int:
        """Number of the block that it stands in, from 0."""
        return next((int(part) for part in self.module.split(".") if part.isdigit()), 0)

    @property
    def kind(self) -> str:
        """One of `TARGET_KINDS`."""
        return self.name.rpartition(".")[2]

    def placed(self, left: Tensor, rows: int) -> Tensor:
        """A delta's left factor (out, rank) among all `rows` of its module, (rows, rank)."""
        return F.pad(left, (0, 0, self.start, rows - self.stop))


def by_module(targets: Iterable[Target]) -> dict[str, list[Target]]:
    """Targets by the module that they are rows of, both in order of appearance."""
    members: dict[str, list[Target]] = {}
    for target in targets:
        members.setdefault(target.module, []).append(target)
    return members


def module_rows(target: Target) -> int:
    """Output rows of the whole module that a target is rows of, told without the module."""
    for family in FAMILIES.values():
        rows = family.maps.get(target.kind)
        if rows and target.module == f"{family.blocks}.{target.block}.{rows.path}":
            return rows.shares * target.shape[0]
    return target.stop


def list_targets(
    module: nn.Module, kinds: Iterable[str] = DEFAULT_KINDS, stem: int = 0
) -> tuple[Target, ...]:
    """The targets of a vision transformer, block by block.

    Args:
        module: of a family in the table.
        kinds: any of `TARGET_KINDS`.
        stem: how many leading blocks stay unadapted.

    Raises:
        BaseError: an unknown kind, a kind the module lacks, or a stem as deep as the module.
    """
    chosen = tuple(kinds)
    if not chosen or set(chosen) - set(TARGET_KINDS) or len(set(chosen)) != len(chosen):
        raise BaseError(
            f"targets: expected distinct kinds out of {', '.join(TARGET_KINDS)}, "
            f"got {', '.join(chosen) or 'none'}"
        )
    family = family_of(module)
    blocks = family.block_list(module)
    if not 0 <= stem < len(blocks):
        raise BaseError(f"stem: expected 0 to {len(blocks) - 1} blocks, got {stem}")
    return tuple(
        _target(module, family, number, kind)
        for number in range(stem, len(blocks))
        for kind in TARGET_KINDS
        if kind in chosen
    )


def _target(module: nn.Module, family: Family, number: int, kind: str) -> Target:
    path, share, shares = family.maps[kind]
    path = f"{family.blocks}.{number}.{path}"
    try:
        linear = module.get_submodule(path)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise BaseError(f"targets: expected a linear map at {path} for {kind!r}, got none")
    rows = linear.out_features // shares
    name = f"blocks.{number}.{_PARTS[kind]}.{kind}"
    return Target(name, path, share * rows, (share + 1) * rows, linear.in_features)
