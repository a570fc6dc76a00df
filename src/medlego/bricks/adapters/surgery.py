"""What every change of a base's modules needs: a copy that shares tensors, and a check of fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base import Target, by_module, family_of
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
        replace_patch_convolution(moved)
    return moved


def replace_patch_convolution(module: nn.Module) -> None:
    """In place, where there is one whose windows do not overlap."""
    path = family_of(module).patch_convolution
    convolution = module.get_submodule(path)
    if isinstance(convolution, nn.Conv2d) and Patches.can_replace(convolution):
        module.set_submodule(path, Patches(convolution))


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
        windows = pixels.unfold(2, high, high).unfold(3, wide, wide)
        rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3)
        return F.linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def wrapped(
    module: nn.Module,
    targets: Sequence[Target],
    wrap: Callable[[nn.Linear, list[Target]], nn.Module],
) -> nn.Module:
    """A copy of a module, its tensors shared, whose adapted linear maps are replaced.

    Args:
        module: left as it is.
        targets: whose linear maps are replaced.
        wrap: gets the copy's linear map with the targets on it, and gives what takes its place.

    Raises:
        BaseError: the module lacks a target.
    """
    _check_fit(module, targets)
    tensors = [*module.parameters(), *module.buffers()]
    adapted = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    for path, members in by_module(targets).items():
        linear = adapted.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        adapted.set_submodule(path, wrap(linear, members))
    return adapted


def _check_fit(module: nn.Module, targets: Sequence[Target]) -> None:
    """Refuse a module that lacks a target, or has it in another shape, all in one message."""
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
