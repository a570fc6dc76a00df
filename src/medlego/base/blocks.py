"""A vision transformer walked block by block, and what its first blocks say of an image.

The features of a *stem* are the mean and the standard deviation of the frozen base's patch
tokens after a few blocks, each token brought to mean 0 and variance 1 first. Mean and deviation
together then have the norm √width for every image there is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def embed(module: nn.Module, inputs: Tensor) -> Tensor:
    """Normalised inputs (N, 3, size, size) → tokens (N, tokens, width) before the first block."""
    model: Any = module
    tokens: Tensor = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(inputs))))
    return tokens


def through(module: nn.Module, tokens: Tensor, start: int, stop: int | None = None) -> Tensor:
    """Tokens through the blocks [start, stop), to the last one where `stop` is left out."""
    blocks: Any = module.get_submodule("blocks")
    for block in blocks[start:stop]:
        tokens = block(tokens)
    return tokens


def pool(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens after the last block → pooled features (N, features), what a head reads."""
    model: Any = module
    pooled: Tensor = model.forward_head(model.norm(tokens), pre_logits=True)
    return pooled


def stem_features(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens after the stem (N, tokens, width) → (N, 2 · width): mean, then deviation."""
    prefix: Any = module.num_prefix_tokens
    patches = F.layer_norm(tokens[:, prefix:].float(), tokens.shape[-1:])
    deviation, mean = torch.std_mean(patches, dim=1, correction=0)
    return torch.cat([mean, deviation], dim=1)


def depth(module: nn.Module) -> int:
    """How many blocks there are."""
    return len(list(module.get_submodule("blocks").children()))
