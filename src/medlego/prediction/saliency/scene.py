"""What a saliency method looks at: one task's head on one part of a generalist."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlego.base import Base, family_of, pool, through
from medlego.bricks import Adapter, fold, on_device
from medlego.generalist import Generalist
from medlego.merge import Capability, as_mode
from medlego.prediction.modes import parts

_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Scene:
    """An adapted module of one's own, and the head that reads it.

    `module` carries the deltas in its weights; a method may put hooks on it and must take them
    away again.
    """

    module: nn.Module
    reader: Capability

    @classmethod
    def of(cls, module: nn.Module, adapter: Adapter, reader: Capability, device: str) -> Scene:
        """A base's module, which stays as it is, with an adapter's deltas in a copy of it."""
        folded = fold(module, adapter.targets, adapter.deltas)
        return cls(on_device(folded, device), reader)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patches': the class token, registers."""
        return family_of(self.module).dimensions(self.module).prefix

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        image_size, patch_size, _, _ = family_of(self.module).dimensions(self.module)
        return image_size // patch_size, image_size // patch_size

    def log_odds(self, tokens: Tensor, start: int) -> Tensor:
        """Tokens before block `start` → log odds of each label, (N, labels) float64.

        One number per label in every kind of task, so that evidence adds up alike in all.
        """
        logits = self._logits(tokens, start).double()
        odds: Tensor = torch.logit(self.reader.task.rules.probabilities(logits), eps=_LEAST)
        return odds

    def probs(self, tokens: Tensor) -> Tensor:
        """Tokens before the first block → what `predict` says of each label, (N, labels)."""
        return self.reader.probabilities(self._logits(tokens, 0))

    def _logits(self, tokens: Tensor, start: int) -> Tensor:
        return self.reader.head.logits(pool(self.module, through(self.module, tokens, start)))


def answering(
    generalist: Generalist, task: str, base: Base, mode: str | None
) -> tuple[Adapter, Capability]:
    """The deltas by which a task is answered, and the head that reads them.

    Raises:
        GeneralistError: no such task, or another base.
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
    """
    generalist.check_base(base)
    name = generalist.capability(task).task.name
    mode = generalist.recipe.mode if mode is None else as_mode(mode)
    part = next(part for part in parts(generalist, mode) if name in part.tasks)
    return part.adapter, next(reader for reader in part.readers if reader.task.name == name)
