"""What a saliency method looks at: one task's head on one part of a generalist."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlego.base import Base, family_of, pool, through
from medlego.bricks import Adapter
from medlego.generalist import Generalist
from medlego.merge import Capability
from medlego.prediction.backbone import Backbone
from medlego.prediction.modes import parts

_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Scene:
    """A base with deltas in its weights, and the head that reads it.

    A method may put hooks on the module and must take them away again.
    """

    backbone: Backbone
    reader: Capability

    @classmethod
    def of(cls, base: Base, adapter: Adapter, reader: Capability, device: str) -> Scene:
        """A base, which stays as it is, with an adapter's deltas in a copy of it."""
        return cls(Backbone(base, adapter, device), reader)

    @property
    def module(self) -> nn.Module:
        """What the images pass through."""
        return self.backbone.module

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
    part = next(part for part in parts(generalist, mode) if name in part.tasks)
    return part.adapter, next(reader for reader in part.readers if reader.task.name == name)
