"""What every change of a base's modules needs: a copy that shares tensors, and a check of fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base import Target
from medlego.errors import BaseError, raise_all


def on_device(module: nn.Module, device: str) -> nn.Module:
    """The module itself where it is on that device, else a copy there.

    On a GPU the patches are embedded by a matrix product: cuDNN's convolutions are of TF32, three
    digits, unless the whole process forbids it.
    """
    there = torch.empty(0, device=device).device
    if next(module.parameters()).device == there:
        return module
    moved = copy.deepcopy(module).to(there)
    if there.type == "cuda":
        _replace_patch_convolution(moved)
    return moved


def _replace_patch_convolution(module: nn.Module) -> None:
    """In place, where there is one whose windows do not overlap."""
    embedding: Any = getattr(module, "patch_embed", None)
    convolution = getattr(embedding, "proj", None)
    if isinstance(convolution, nn.Conv2d) and Patches.can_replace(convolution):
        embedding.proj = Patches(convolution)


class Patches(nn.Module):
    """A convolution over windows that do not overlap, as a matrix product, its tensors shared."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    @staticmethod
    def can_replace(convolution: nn.Conv2d) -> bool:
        """Whether windows stand side by side, without padding, holes or groups."""
        return (
            convolution.stride == convolution.kernel_size
            and convolution.padding in ((0, 0), 0)
            and convolution.dilation == (1, 1)
            and convolution.groups == 1
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, width of a token, rows, columns)."""
        high, wide = self.weight.shape[-2:]
        rows, columns = pixels.shape[-2] // high, pixels.shape[-1] // wide
        cut = pixels[..., : rows * high, : columns * wide]
        windows = cut.reshape(*cut.shape[:2], rows, high, columns, wide)
        windows = windows.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return F.linear(windows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy of a module whose parameters and buffers are the very same tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def wrapped(
    module: nn.Module,
    targets: Sequence[Target],
    wrap: Callable[[nn.Linear, list[Target]], nn.Module],
) -> nn.Module:
    """A copy of a module whose adapted linear maps are wrapped, each with its targets.

    Raises:
        BaseError: the module lacks a target.
    """
    check_fit(module, targets)
    adapted = shared_copy(module)
    for path in dict.fromkeys(target.module for target in targets):
        parent, _, leaf = path.rpartition(".")
        linear = adapted.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        members = [target for target in targets if target.module == path]
        setattr(adapted.get_submodule(parent), leaf, wrap(linear, members))
    return adapted


def check_fit(module: nn.Module, targets: Sequence[Target]) -> None:
    """Refuse a module that lacks a target.

    Raises:
        BaseError: a missing linear map or another shape, all in one message.
    """
    problems = []
    for target in targets:
        try:
            linear = module.get_submodule(target.module)
        except AttributeError:
            linear = None
        if not isinstance(linear, nn.Linear):
            problems.append(f"{target.module}: expected a linear map, found none")
        elif target.stop > linear.out_features or target.in_features != linear.in_features:
            problems.append(
                f"{target.name}: expected rows up to {target.stop} of {target.in_features} inputs, "
                f"got {linear.out_features} × {linear.in_features}"
            )
    raise_all(BaseError, "base", problems)
