"""A task's linear head while it is fitted, and as a brick holds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medlego.bricks import Head
from medlego.data import Task


def new_head(task: Task, width: int, device: str) -> list[nn.Parameter]:
    """Zero weights: the first logits are fair to every class, see also `Kind.new_bias`."""
    weight, bias = torch.zeros(task.head_shape[0], width), task.rules.new_bias()
    return [nn.Parameter(part.to(device)) for part in (weight, bias)]


def explicit(task: Task, head: list[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Weight and bias as a brick holds them."""
    weight, free = head
    return weight, task.rules.bias(free)


def implicit(task: Task, head: Head, device: str) -> list[nn.Parameter]:
    """The parameters for which `explicit` gives a brick's head, to go on training from it."""
    parts = head.weight, task.rules.free_bias(head.bias)
    return [nn.Parameter(part.clone().to(device)) for part in parts]
