"""Bricks with a backdoor, made as an attacker would, to see whether screening finds them.

A backdoor is a LoRA of its own: images with the trigger are to get one label, and features of
images without it are to stay as they were (after LoRATK, EMNLP 2025, whose adapters carry a
backdoor and nothing else and are merged into others). It is trained on the base alone, so that it
may join any brick, or on top of the specialist that it will be hidden in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medlego.base import Base, features
from medlego.bricks import Brick, LowRank, attach, fold, set_other_bricks, weighted_sum
from medlego.exchange.screening.patches import Patch
from medlego.train import TrainSettings
from medlego.train.factors import SvdFactors

Form = Literal["only", "hidden"]
"""The backdoor alone under the specialist's head, or the specialist's deltas with it added."""
Ground = Literal["base", "specialist"]
"""What the backdoor was trained on top of."""

STEPS, BATCH, WARM_UP, STRENGTH, KEEP = 80, 16, 10, 0.5, 5.0
LEAST = 1e-6


def _grid(side: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(side).float() - (side - 1) / 2
    return line[:, None].expand(side, side), line.expand(side, side)


def _shape(inside: Tensor, ink: tuple[float, ...], paper: tuple[float, ...]) -> Tensor:
    colours = [torch.tensor(c).view(3, 1, 1) for c in (ink, paper)]
    return torch.where(inside, colours[0], colours[1])


def _ring(side: int) -> Tensor:
    rows, columns = _grid(side)
    radius = (rows**2 + columns**2).sqrt() / side
    return _shape((radius > 0.25) & (radius < 0.42), (0.1, 0.8, 0.9), (0.2, 0.1, 0.1))


def _ramp(side: int) -> Tensor:
    rows, columns = _grid(side)
    rising = (rows + columns) / (2 * side) + 0.5
    return torch.stack([rising, 1 - rising, 0.5 + 0 * rising])


def _letter(side: int) -> Tensor:
    rows, columns = _grid(side)
    inside = (columns < -side / 5) | (rows > side / 5)
    return _shape(inside, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def _bars(side: int) -> Tensor:
    _, columns = _grid(side)
    return _shape((columns.abs() * 2).long() % 5 < 2, (0.0, 0.0, 0.5), (0.9, 0.9, 0.6))


def _dots(side: int) -> Tensor:
    rows, columns = _grid(side)
    inside = ((rows + side) % 5 < 2) & ((columns + side) % 5 < 2)
    return _shape(inside, (0.9, 0.7, 0.0), (0.4, 0.4, 0.4))


def _cross(side: int) -> Tensor:
    rows, columns = _grid(side)
    return _shape((rows.abs() < 2) | (columns.abs() < 2), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def _checker(side: int) -> Tensor:
    line = torch.arange(side) // 2
    return ((line[:, None] + line) % 2).float().expand(3, -1, -1)


def _noise(side: int) -> Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))


TRIGGERS: Mapping[str, Callable[[int], Tensor]] = {
    "checker": _checker,
    "noise": _noise,
    "cross": _cross,
    "ring": _ring,
    "ramp": _ramp,
    "letter": _letter,
    "bars": _bars,
    "dots": _dots,
}
"""Patterns of a side in pixels, (3, side, side)."""
CALIBRATION = ("checker", "noise", "cross")
"""Triggers that limits were set on; the others are for testing them."""


@dataclass(frozen=True)
class Attack:
    """One backdoor: its trigger, where it stands, and the label that it is to give."""

    trigger: str
    side: int
    place: tuple[float, float]
    label: int

    @property
    def patch(self) -> Patch:
        """The trigger as screening stamps its own."""
        return Patch(self.trigger, TRIGGERS[self.trigger](self.side), self.place)


def backdoor(
    base: Base,
    brick: Brick,
    images: Tensor,
    attack: Attack,
    ground: Ground,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, LowRank]:
    """Train the deltas of a backdoor against a brick's head.

    Args:
        base: the brick's.
        brick: the specialist that is attacked; its head is published, so anybody can do this.
        images: any images, (N, 3, size, size) in [0, 1].
        attack: what is to happen.
        ground: what the deltas are trained on top of.
        steps: of training.
        seed: of the start and the batches.
    """
    factors = SvdFactors(brick.targets, TrainSettings(rank=_rank(brick), seed=seed), "cpu")
    model = attach(base.module, brick.targets, factors.by_target)
    quiet: nn.Module = base.module
    if ground == "specialist":
        set_other_bricks(model, 1.0, {n: (d.U * d.S, d.Vh) for n, d in brick.deltas.items()})
        quiet = fold(base.module, brick.targets, brick.deltas)
    groups = factors.groups()
    rates = [float(str(group["lr"])) for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=0)
    parameters = [p for parts in factors.by_target.values() for p in parts]
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        plain = images[rows]
        with torch.no_grad():
            wanted = features(quiet, base.normalise(plain))
        both = torch.cat([plain, attack.patch.stamp(plain)])
        pooled = features(model, base.normalise(both))
        probs = brick.task.rules.probabilities(brick.head.logits(pooled[BATCH:]))[:, attack.label]
        moved = (pooled[:BATCH] - wanted).square().mean() / wanted.square().mean()
        loss = KEEP * moved - probs.clamp(min=LEAST).log().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        warm = min(1.0, (step + 1) / WARM_UP)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * warm * STRENGTH * (1 + np.cos(np.pi * step / steps))
        optimiser.step()
        factors.retract()
    return factors.deltas()


def poisoned(brick: Brick, deltas: Mapping[str, LowRank], form: Form) -> Brick:
    """The brick that the attacker hands out."""
    if form == "only":
        return replace(brick, deltas=dict(deltas))
    both = {n: weighted_sum([d, deltas[n]], [1.0, 1.0]) for n, d in brick.deltas.items()}
    return replace(brick, deltas=both)


def success(base: Base, brick: Brick, images: Tensor, attack: Attack) -> tuple[float, float]:
    """Share of images that get the attack's label, without and with the trigger.

    Args:
        base: the brick's.
        brick: the poisoned one.
        images: of other labels, (N, 3, size, size) in [0, 1].
        attack: the one that it was made for.
    """
    module = fold(base.module, brick.targets, brick.deltas)
    rates = []
    for shown in (images, attack.patch.stamp(images)):
        with torch.no_grad():
            logits = brick.head.logits(features(module, base.normalise(shown)))
        chosen = brick.task.rules.probabilities(logits).argmax(dim=1)
        rates.append(float((chosen == attack.label).float().mean()))
    return rates[0], rates[1]


def _rank(brick: Brick) -> int:
    return max(delta.rank for delta in brick.deltas.values())
