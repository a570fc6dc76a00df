"""Adapted linear maps: which rows of which module a delta is added to.

timm fuses q, k and v in one linear map, so a target is a module plus a slice of its output
rows. Targets of one base never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from medlego.errors import BaseError

TARGET_KINDS = ("q", "k", "v", "proj", "fc1", "fc2")
DEFAULT_KINDS = ("q", "v")

_MODULES = {"proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


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
        return int(self.module.split(".")[1])


def list_targets(
    model: nn.Module, kinds: Iterable[str] = DEFAULT_KINDS, stem: int = 0
) -> tuple[Target, ...]:
    """The targets of a vision transformer, block by block.

    Args:
        model: a timm vision transformer.
        kinds: any of `TARGET_KINDS`.
        stem: how many leading blocks stay unadapted.

    Raises:
        BaseError: an unknown kind, a kind the model lacks, or a stem as deep as the model.
    """
    wanted = tuple(kinds)
    if not wanted or set(wanted) - set(TARGET_KINDS) or len(set(wanted)) != len(wanted):
        raise BaseError(
            f"targets: expected distinct kinds out of {', '.join(TARGET_KINDS)}, "
            f"got {', '.join(wanted) or 'none'}"
        )
    blocks: Sequence[nn.Module] = list(model.get_submodule("blocks").children())
    if not 0 <= stem < len(blocks):
        raise BaseError(f"stem: expected 0 to {len(blocks) - 1} blocks, got {stem}")
    return tuple(
        _target(block, f"blocks.{number}", kind)
        for number, block in enumerate(blocks)
        if number >= stem
        for kind in TARGET_KINDS
        if kind in wanted
    )


def _target(block: nn.Module, prefix: str, kind: str) -> Target:
    path = _MODULES.get(kind, "attn.qkv")
    try:
        linear = block.get_submodule(path)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise BaseError(f"targets: expected a linear map at {prefix}.{path} for {kind!r}, got none")
    rows, start = linear.out_features, 0
    if kind in ("q", "k", "v"):
        rows //= 3
        start = "qkv".index(kind) * rows
    name = f"{prefix}.{path.rpartition('.')[0]}.{kind}"
    return Target(name, f"{prefix}.{path}", start, start + rows, linear.in_features)
