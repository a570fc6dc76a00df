"""Several adapters on one base at once: each row of a batch passes through its own.

Every adapted map holds all adapters' factors stacked, padded with zeros to one rank, and picks
each row's by its number: two batched products a target, whatever the number of adapters. A single
adapter is folded into the weights instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlego.base import Target, pool, through
from medlego.bricks.adapters.folding import fold
from medlego.bricks.adapters.surgery import on_device, wrapped
from medlego.bricks.lowrank import LowRank
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Adapter(ShortRepr):
    """Deltas on some targets of a base, by target name."""

    targets: tuple[Target, ...]
    deltas: Mapping[str, LowRank]


class Mixed:
    """A base that carries several adapters; not to be used from two threads at once.

    `stem` is the number of leading blocks that no adapter changes.
    """

    def __init__(self, module: nn.Module, adapters: Sequence[Adapter], device: str) -> None:
        """Share the module's tensors.

        Raises:
            BaseError: the module lacks a target.
        """
        targets = tuple(dict.fromkeys(t for adapter in adapters for t in adapter.targets))
        self._row = _Row()

        def wrap(linear: nn.Linear, members: list[Target]) -> nn.Module:
            parts = [_Part(t, [a.deltas.get(t.name) for a in adapters]) for t in members]
            return _MixedLinear(linear, parts, self._row).to(device)

        there = on_device(module, device)
        self.module = (
            fold(there, targets, adapters[0].deltas)
            if len(adapters) == 1
            else wrapped(there, targets, wrap)
        )
        self.stem = min((target.block for target in targets), default=0)

    def features(self, tokens: Tensor, adapter: Tensor, start: int) -> Tensor:
        """Tokens on their way through the blocks, each row by its own adapter, to pooled features.

        Args:
            tokens: (N, tokens, width), before block `start`.
            adapter: (N,) numbers of the adapters, int64.
            start: 0, or as far as the stem reaches.

        Returns:
            (N, features).
        """
        self._row.adapter = adapter
        return pool(self.module, through(self.module, tokens, start))


@dataclass
class _Row:
    """Each row's adapter, for all maps of one `Mixed`."""

    adapter: Tensor | None = None


class _Part(nn.Module):
    """Every adapter's delta on one target, zero where it has none.

    left is (adapters, rank, out), right (adapters, in, rank).
    """

    left: Tensor
    right: Tensor

    def __init__(self, target: Target, deltas: Sequence[LowRank | None]) -> None:
        super().__init__()
        self.start, self.stop = target.start, target.stop
        out, width = target.shape
        rank = max(delta.rank for delta in deltas if delta is not None)
        left, right = torch.zeros(len(deltas), rank, out), torch.zeros(len(deltas), width, rank)
        for number, delta in enumerate(deltas):
            if delta is not None:
                left[number, : delta.rank] = (delta.U * delta.S).T
                right[number, :, : delta.rank] = delta.Vh.T
        self.register_buffer("left", left)
        self.register_buffer("right", right)


class _MixedLinear(nn.Module):
    """A frozen linear map plus each row's own low-rank updates of some of its output rows."""

    def __init__(self, linear: nn.Linear, parts: Sequence[_Part], row: _Row) -> None:
        super().__init__()
        self.linear, self.parts, self._row = linear, nn.ModuleList(parts), row

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, tokens, in) → (N, tokens, out)."""
        result: Tensor = self.linear(inputs)
        adapter = self._row.adapter
        assert adapter is not None
        for part in self.parts:
            assert isinstance(part, _Part)
            inner = torch.bmm(inputs, part.right[adapter])
            result[..., part.start : part.stop].baddbmm_(inner, part.left[adapter])
        return result
