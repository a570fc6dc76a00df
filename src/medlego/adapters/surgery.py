"""What every change of a base's modules needs: a copy that shares tensors, and a check of fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn

from medlego.errors import BaseError, raise_all
from medlego.targets import Target


def on_device(module: nn.Module, device: str) -> nn.Module:
    """The module itself where it is on that device, else a copy there."""
    here = next(module.parameters()).device
    return module if here == torch.device(device) else copy.deepcopy(module).to(device)


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
