"""Attention rollout: which patches the answer could draw on, whatever the label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medlego.base import through
from medlego.prediction.saliency.scene import Scene


def attention_rollout(scene: Scene, tokens: Tensor, _labels: Tensor) -> Tensor:
    """How much of each patch reaches the pooled features along the attention of all blocks.

    It reads no head: the map is the same for every label, and says nothing about for or against.

    Args:
        scene: the adapted module; its head is not used.
        tokens: (N, tokens, width), before the first block.

    Returns:
        (N, patches) float32, none below zero; with the class token and registers a row's sum
        would be one.

    Source: Abnar and Zuidema 2020, arXiv:2005.00928, section 3: heads averaged, half of each
        block's way is the residual's.
    """
    model: Any = scene.module
    with torch.no_grad(), _attention(scene.module) as found:
        through(scene.module, tokens, 0)
        along = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
        for attention in found:
            along = 0.5 * (attention.mean(dim=1) + torch.eye(tokens.shape[1]).to(along)) @ along
    read = along[:, 0] if model.global_pool == "token" else along[:, scene.prefix :].mean(dim=1)
    return read[:, scene.prefix :].float()


@contextmanager
def _attention(module: nn.Module) -> Iterator[list[Tensor]]:
    """What passes the softmax of every block meanwhile, (N, heads, tokens, tokens) each.

    Fused attention never forms these, so it is off for that time.
    """
    model: Any = module
    layers = [block.attn for block in model.blocks]
    fused = [layer.fused_attn for layer in layers]
    found: list[Tensor] = []
    hooks = [
        layer.attn_drop.register_forward_hook(lambda _layer, _given, out: found.append(out))
        for layer in layers
    ]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield found
    finally:
        for layer, before, hook in zip(layers, fused, hooks, strict=True):
            layer.fused_attn = before
            hook.remove()
