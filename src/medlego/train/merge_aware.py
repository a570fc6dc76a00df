"""Merges that a brick will work in, simulated while it is trained.

A brick that was trained alone loses accuracy twice in a merge: its delta is scaled down, and the
other bricks' deltas act on its images. Merge-aware training simulates both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from medlego.base import BATCH, Base, Inputs, Moments, Target, input_moments
from medlego.bricks import Brick
from medlego.errors import TrainingError
from medlego.train.factors import left_and_right
from medlego.train.settings import TrainSettings

OtherDeltas = Mapping[str, tuple[Tensor, Tensor]]
"""Per target name left (out, n) and right (n, in)."""

IMAGES = 384

Factors = Mapping[str, tuple[nn.Parameter, ...]]


def needs_random(bricks: Sequence[Brick], settings: TrainSettings) -> bool:
    """Whether random deltas stand in, for which `SimulatedMerges` needs the own moments."""
    return len(bricks) < settings.merge_size - 1


def own_moments(
    base: Base, module: nn.Module, targets: Sequence[Target], inputs: Inputs
) -> Moments:
    """What goes into the targets' modules, of at most `IMAGES` images, evenly spread.

    Raises:
        TrainingError: NaN or infinity among them.
    """
    count = min(IMAGES, len(inputs))
    indices = torch.linspace(0, len(inputs) - 1, count).long().tolist()

    def batches() -> Iterator[Tensor]:
        for start in range(0, count, BATCH):
            yield inputs.take(indices[start : start + BATCH])

    moments = input_moments(base, module, targets, batches())
    if not all(torch.isfinite(moment).all() for moment in moments.values()):
        raise TrainingError(
            "training images: expected finite activations of the base, got NaN or infinity; "
            "check the images"
        )
    return moments


class SimulatedMerges:
    """Draws the merge that one training step takes place in.

    A merge of K bricks scales each by a coefficient from 1/√K to halfway between that and 1, for
    K drawn up to `settings.merge_size`. The other K − 1 are published bricks where enough were
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
        self._roots: dict[str, tuple[Tensor, Tensor]] = {}
        if needs_random(bricks, settings):
            roots = {path: _root(moment) for path, moment in own.items()}
            for target in targets:
                weight = module.get_parameter(f"{target.module}.weight")
                root = roots[target.module]
                outputs = weight[target.start : target.stop].detach() @ root
                self._roots[target.name] = outputs, root

    def draw(self, factors: Factors, generator: torch.Generator) -> tuple[float, OtherDeltas]:
        """The brick's own coefficient, and the other deltas with theirs folded in."""
        settings = self._settings
        if float(torch.rand((), generator=generator)) < settings.alone:
            return 1.0, {}
        size = int(torch.randint(2, settings.merge_size + 1, (), generator=generator))
        least = 1 / math.sqrt(size)
        coefficient = least + (1 - least) / 2 * float(torch.rand((), generator=generator))
        return coefficient, self._join(size, coefficient, factors, generator)

    def largest(self, factors: Factors) -> tuple[float, OtherDeltas]:
        """The same for validation: always `settings.merge_size` bricks at 1/√K, the same ones."""
        size = self._settings.merge_size
        generator = torch.Generator().manual_seed(self._settings.seed)
        coefficient = 1 / math.sqrt(size)
        return coefficient, self._join(size, coefficient, factors, generator)

    def _join(
        self, size: int, coefficient: float, factors: Factors, generator: torch.Generator
    ) -> OtherDeltas:
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
        rank, deltas = self._settings.rank, {}
        for name, roots in self._roots.items():
            draws = torch.randn(2, roots[1].shape[1], rank, generator=generator).to(roots[1])
            spectrum = torch.randn(rank, generator=generator).abs().to(roots[1])
            spectrum *= _norm(factors[name]) / spectrum.norm()
            U, V = (torch.linalg.qr(root @ z)[0] for root, z in zip(roots, draws, strict=True))
            deltas[name] = U * spectrum, V.T
        return deltas


def _norm(parts: tuple[nn.Parameter, ...]) -> Tensor:
    """Frobenius norm of a delta in training."""
    left, right = left_and_right(parts)
    return ((left.T @ left) * (right @ right.T)).sum().clamp(min=0).sqrt()


def _root(moment: Tensor) -> Tensor:
    """R (in, in) with R Rᵀ = moment."""
    values, vectors = torch.linalg.eigh(moment)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()).float()
    return root
