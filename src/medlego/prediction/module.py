"""A generalist as an ordinary torch module: pixels in, logits by task out."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from medlego.base import Base, features
from medlego.bricks import Head, fold, replace_patch_convolution
from medlego.errors import GeneralistError, ImageError
from medlego.generalist import Generalist
from medlego.prediction.modes import parts


def as_module(
    generalist: Generalist,
    base: Base,
    tasks: Collection[str] | None = None,
    mode: str | None = None,
) -> nn.Module:
    """See `Generalist.module`."""
    return _Module(generalist, base, tasks, mode)


class _Head(nn.Module):
    """A linear head; of ordinal tasks its one row has several biases."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.weight = nn.Parameter(head.weight.clone())
        self.bias = nn.Parameter(head.bias.clone())

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T + self.bias


class _Module(nn.Module):
    """The parts of a generalist, each a backbone with its deltas in its weights, and their heads.

    `tasks` are those that it answers, in the order of the heads. What no delta changes is one
    tensor in all parts. Nothing is frozen, nothing is shared with the base.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        generalist: Generalist,
        base: Base,
        tasks: Collection[str] | None,
        mode: str | None,
    ) -> None:
        super().__init__()
        generalist.check_base(base)
        wanted = [task.name for task in generalist.tasks] if tasks is None else tasks
        if isinstance(wanted, str) or not isinstance(wanted, Collection) or not wanted:
            raise GeneralistError(f"tasks: expected several names, got {tasks!r:.60}")
        for name in wanted:
            generalist.capability(name)
        self.tasks = tuple(t for t in generalist.tasks if t.name in wanted)
        own = copy.deepcopy(base.module)
        replace_patch_convolution(own)  # on a GPU cuDNN's would be of three digits, see on_device
        backbones: list[nn.Module] = []
        heads: dict[str, nn.Module] = {}
        self._place: dict[str, int] = {}
        for part in parts(generalist, mode):
            asked = [reader for reader in part.readers if reader.task.name in wanted]
            if asked:
                self._place |= {reader.task.name: len(backbones) for reader in asked}
                heads |= {reader.task.name: _Head(reader.head) for reader in asked}
                backbones.append(fold(own, part.adapter.targets, part.adapter.deltas))
        self.backbones = nn.ModuleList(backbones)
        self.heads = nn.ModuleList(heads[task.name] for task in self.tasks)
        self._sides = base.ref.image_size, base.ref.image_size
        self.register_buffer("mean", torch.tensor(base.ref.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(base.ref.std).view(1, 3, 1, 1))
        self.eval().requires_grad_(True)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, size, size) in [0, 1] → logits (N, outputs) by task, not calibrated.

        Raises:
            ImageError: images of another size.
        """
        if pixels.shape[-2:] != self._sides:
            raise ImageError(
                f"pixels: expected (N, 3, {self._sides[0]}, {self._sides[1]}), got "
                f"{tuple(pixels.shape)}; resize them, or load the base with another image_size"
            )
        inputs = (pixels - self.mean) / self.std
        read = [features(backbone, inputs) for backbone in self.backbones]
        return {
            task.name: head(read[self._place[task.name]])
            for task, head in zip(self.tasks, self.heads, strict=True)
        }
