"""The company a brick keeps in a merge, imagined while it is trained.

A brick that was only ever alone loses skill twice in a merge: its delta is scaled down, and
strangers' deltas act on its images. Merge-aware training shows it both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from medlego.base import Base, Inputs, Moments, Target, input_moments
from medlego.bricks import Brick
from medlego.train.settings import TrainSettings

Strangers = Mapping[str, tuple[Tensor, Tensor]]
"""Per target name left (out, n) and right (n, in)."""

IMAGES = 384
BATCH = 64

Factors = Mapping[str, tuple[nn.Parameter, ...]]


def needs_random(bricks: Sequence[Brick], settings: TrainSettings) -> bool:
    """Whether random strangers stand in, for which `Company` needs the own moments."""
    return len(bricks) < settings.company - 1


def own_moments(
    base: Base, module: nn.Module, targets: Sequence[Target], inputs: Inputs
) -> Moments:
    """What goes into the targets' modules, of at most `IMAGES` images, evenly spread."""
    count = min(IMAGES, len(inputs))
    chosen = torch.linspace(0, len(inputs) - 1, count).long().tolist()

    def batches() -> Iterator[Tensor]:
        for start in range(0, count, BATCH):
            yield inputs.take(chosen[start : start + BATCH])

    paths = {target.module: target.in_features for target in targets}
    return input_moments(base, module, paths, batches())


class Company:
    """Draws the merge that a brick finds itself in for one step.

    A merge of K bricks scales each by a coefficient from 1/√K to halfway between that and 1, for
    K drawn up to `settings.company`. The K − 1 strangers are published bricks where enough were
    given, else random deltas as strong as the brick itself, which read what the base's
    activations vary in and write where its outputs do.
    """

    def __init__(
        self,
        module: nn.Module,
        targets: Sequence[Target],
        own: Moments,
        bricks: Sequence[Brick],
        settings: TrainSettings,
    ) -> None:
        self._targets, self._settings = tuple(targets), settings
        device = next(module.parameters()).device
        self._bricks = [
            {
                name: ((delta.U * delta.S).to(device), delta.Vh.to(device))
                for name, delta in brick.deltas.items()
            }
            for brick in bricks
        ]
        self._right: dict[str, Tensor] = {}
        self._left: dict[str, Tensor] = {}
        if needs_random(bricks, settings):
            roots = {path: _root(moment) for path, moment in own.items()}
            for target in targets:
                weight = module.get_parameter(f"{target.module}.weight")
                root = roots[target.module]
                self._right[target.name] = root
                self._left[target.name] = weight[target.start : target.stop].detach() @ root

    def draw(self, factors: Factors, generator: torch.Generator) -> tuple[float, Strangers]:
        """The brick's own coefficient, and the deltas beside it with theirs folded in."""
        settings = self._settings
        if float(torch.rand((), generator=generator)) < settings.alone:
            return 1.0, {}
        size = int(torch.randint(2, settings.company + 1, (), generator=generator))
        least = 1 / math.sqrt(size)
        coefficient = least + (1 - least) / 2 * float(torch.rand((), generator=generator))
        return coefficient, self._join(size, coefficient, factors, generator)

    def largest(self, factors: Factors) -> tuple[float, Strangers]:
        """The same for validation: always `settings.company` bricks at 1/√K, the same ones."""
        size = self._settings.company
        generator = torch.Generator().manual_seed(self._settings.seed)
        coefficient = 1 / math.sqrt(size)
        return coefficient, self._join(size, coefficient, factors, generator)

    def _join(
        self, size: int, coefficient: float, factors: Factors, generator: torch.Generator
    ) -> Strangers:
        order = torch.randperm(len(self._bricks), generator=generator)[: size - 1].tolist()
        members = [self._bricks[i] for i in order]
        members += [self._random(factors, generator) for _ in range(size - 1 - len(members))]
        joined = {}
        for target in self._targets:
            parts = [m[target.name] for m in members if target.name in m]
            if parts:
                left = torch.cat([left for left, _ in parts], dim=1) * coefficient
                joined[target.name] = left, torch.cat([right for _, right in parts])
        return joined

    @torch.no_grad()
    def _random(
        self, factors: Factors, generator: torch.Generator
    ) -> dict[str, tuple[Tensor, Tensor]]:
        rank, made = self._settings.rank, {}
        for target in self._targets:
            left, right = self._left[target.name], self._right[target.name]
            draws = torch.randn(2, right.shape[1], rank, generator=generator).to(right)
            spectrum = torch.randn(rank, generator=generator).abs().to(right)
            spectrum *= _norm(factors[target.name]) / spectrum.norm()
            U, V = (
                torch.linalg.qr(root @ z)[0] for root, z in zip((left, right), draws, strict=True)
            )
            made[target.name] = U * spectrum, V.T
        return made


def _norm(parts: tuple[nn.Parameter, ...]) -> Tensor:
    """Frobenius norm of a delta in training."""
    left = parts[0] * parts[1] if len(parts) == 3 else parts[0]
    right = parts[-1]
    return ((left.T @ left) * (right @ right.T)).sum().clamp(min=0).sqrt()


def _root(moment: Tensor) -> Tensor:
    """R (in, in) with R Rᵀ = moment."""
    values, vectors = torch.linalg.eigh(moment)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()).float()
    return root
