"""What a new task's training starts from besides the base: the deltas of other tasks' bricks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from medlego.base import Base, Target
from medlego.bricks import Brick, LowRank, all_targets, attach_weighted, fold, weighted_sum
from medlego.errors import BrickError
from medlego.support import one_thread
from medlego.train.factors import Factors, SvdFactors
from medlego.train.settings import TrainSettings

Start = Literal["merged", "directions", "coefficients"]
"""How other bricks' deltas are used: their merge stays below a new brick, frozen; a new brick sets
out from the merge's leading directions; or nothing is learnt but how the bricks are weighed."""


@dataclass(frozen=True, eq=False)
class Foundation:
    """Bricks of other tasks and their merge, and how they are used.

    `origin` is the digest of the recipe that the merge was made by.
    """

    start: Start
    bricks: tuple[Brick, ...]
    targets: tuple[Target, ...]
    deltas: Mapping[str, LowRank]
    coefficients: tuple[float, ...]
    origin: str

    def check(self, base: Base, settings: TrainSettings) -> None:
        """Refuse what does not fit.

        Raises:
            BrickError: bricks of another base, or settings that a foundation does not go with.
        """
        if self.bricks[0].base != base.ref:
            raise BrickError(
                f"foundation: expected base {base.ref}, got {self.bricks[0].base}; "
                "choose another generalist"
            )
        if settings.merge_aware or settings.parametrisation != "svd":
            raise BrickError(
                "foundation: expected plain training of SVD factors, got merge-aware training or "
                "plain LoRA; leave it out"
            )
        adapted = sum(target.block < settings.stem for target in self.targets)
        if settings.views and adapted and self.start != "directions":
            raise BrickError(
                f"foundation: expected no deltas in the {settings.stem} blocks of the stem, whose "
                f"tokens are kept, got {adapted}; set views or stem to 0"
            )

    def factors(self, targets: tuple[Target, ...], settings: TrainSettings, device: str) -> Factors:
        """What is trained."""
        if self.start == "coefficients":
            return WeightedFactors(self.bricks, self.coefficients, settings, device)
        factors = SvdFactors(targets, settings, device)
        if self.start == "directions":
            factors.set_out_from(self.deltas)
        return factors

    def below(self, module: nn.Module) -> nn.Module:
        """The module that the factors are attached to."""
        return fold(module, self.targets, self.deltas) if self.start == "merged" else module

    def whole(
        self, targets: tuple[Target, ...], trained: Mapping[str, LowRank]
    ) -> tuple[tuple[Target, ...], dict[str, LowRank]]:
        """Targets and deltas of the brick on the plain base, exactly; ranks add up."""
        if self.start == "coefficients":
            return tuple(t for t in self.targets if t.name in trained), dict(trained)
        if self.start != "merged":
            return targets, dict(trained)
        every = tuple(sorted({*self.targets, *targets}, key=_place))
        summed = {}
        with one_thread():
            for target in every:
                both = (self.deltas, trained)
                parts = [deltas[target.name] for deltas in both if target.name in deltas]
                summed[target.name] = weighted_sum(parts, [1.0] * len(parts))
        return every, summed

    def record(self) -> dict[str, Any]:
        """What a brick's settings say of it."""
        return {"adapted_from": self.origin, "adapted_start": self.start}


def _place(target: Target) -> tuple[int, str, int]:
    return target.block, target.module, target.start


class WeightedFactors:
    """Frozen deltas of K bricks; one trainable coefficient a brick and block."""

    by_target: dict[str, tuple[nn.Parameter, ...]]

    def __init__(
        self,
        bricks: tuple[Brick, ...],
        coefficients: tuple[float, ...],
        settings: TrainSettings,
        device: str,
    ) -> None:
        self.by_target = {}
        self._bricks, self._settings = bricks, settings
        self._targets = all_targets(bricks)
        blocks = 1 + max(target.block for target in self._targets)
        start = torch.tensor(coefficients, device=device)[:, None].repeat(1, blocks)
        self._coefficients = nn.Parameter(start)

    def attach(self, module: nn.Module) -> nn.Module:
        """A copy of a module that carries them."""
        deltas = [brick.deltas for brick in self._bricks]
        return attach_weighted(module, self._targets, deltas, self._coefficients)

    def groups(self) -> list[dict[str, object]]:
        """One rate, no decay."""
        rate = self._settings.singular_rate
        return [{"params": [self._coefficients], "lr": rate, "weight_decay": 0.0}]

    def retract(self) -> None:
        """Coefficients have no constraint."""

    def deltas(self) -> dict[str, LowRank]:
        """Σ_k c_k ΔW_k of every target, exactly."""
        values = self._coefficients.tolist()
        summed = {}
        with one_thread():
            for target in self._targets:
                weighted = [
                    (brick.deltas[target.name], row[target.block])
                    for brick, row in zip(self._bricks, values, strict=True)
                    if target.name in brick.deltas
                ]
                parts, weights = map(list, zip(*weighted, strict=True))
                summed[target.name] = weighted_sum(parts, weights)
        return summed
