"""A task's linear head while it is fitted, and as a brick holds it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medlego.bricks import Head
from medlego.data import Kind, Task


def new_head(task: Task, width: int, device: str) -> list[nn.Parameter]:
    """Zero weights: the first logits are fair to every class. Ordinal thresholds are spread."""
    rows, outputs = task.head_shape
    bias = torch.zeros(outputs)
    if task.kind is Kind.ORDINAL and outputs > 1:
        bias[1:] = math.log(math.expm1(2.0 / (outputs - 1)))
        bias[0] = 1.0
    return [nn.Parameter(torch.zeros(rows, width, device=device)), nn.Parameter(bias.to(device))]


def explicit(task: Task, head: list[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Weight and bias as a brick holds them; ordinal thresholds fall by positive gaps."""
    weight, bias = head
    if task.kind is not Kind.ORDINAL:
        return weight, bias
    gaps = nn.functional.softplus(bias[1:])
    return weight, torch.cat([bias[:1], bias[:1] - torch.cumsum(gaps, dim=0)])


def implicit(task: Task, head: Head, device: str) -> list[nn.Parameter]:
    """The parameters for which `explicit` gives a brick's head, to go on training from it."""
    weight, bias = head.weight.clone(), head.bias.clone()
    if task.kind is Kind.ORDINAL and len(bias) > 1:
        gaps = (head.bias[:-1] - head.bias[1:]).clamp(min=SMALLEST_GAP)
        bias[1:] = gaps + torch.log(-torch.expm1(-gaps))
    return [nn.Parameter(weight.to(device)), nn.Parameter(bias.to(device))]


SMALLEST_GAP = 1e-4
