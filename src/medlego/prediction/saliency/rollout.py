"""Attention rollout: which patches the answer could draw on, whatever the label."""

from __future__ import annotations

import torch
from captum.attr import LayerActivation
from torch import Tensor

from medlego.base import family_of, through
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
    family = family_of(scene.module)
    with family.attention(scene.module) as layers:
        activation = LayerActivation(lambda inner: through(scene.module, inner, 0), layers)
        attentions = activation.attribute(tokens)
    residual = torch.eye(tokens.shape[1], device=tokens.device)
    along = residual.expand(len(tokens), -1, -1)
    for attention in attentions:
        along = 0.5 * (attention.mean(dim=1) + residual) @ along
    read = along[:, family.pooled_tokens(scene.module)].mean(dim=1)
    return read[:, scene.prefix :].float()
