"""A vision transformer walked block by block, and what its first blocks say of an image.

The features of a *stem* are the mean and the standard deviation of the frozen base's patch
tokens after a few blocks, each token brought to mean 0 and variance 1 first. Mean and deviation
together then have the norm √width for every image there is.

Every function takes a base's module or an adapted copy of it; its family does the work.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base.families import family_of


def embed(module: nn.Module, inputs: Tensor) -> Tensor:
    """Normalised inputs (N, 3, size, size) → tokens (N, tokens, width) before the first block."""
    return family_of(module).embed(module, inputs)


def through(module: nn.Module, tokens: Tensor, start: int, stop: int | None = None) -> Tensor:
    """Tokens through the blocks [start, stop), to the last one where `stop` is left out."""
    return family_of(module).through(module, tokens, start, stop)


def pool(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens after the last block → pooled features (N, features), what a head reads."""
    return family_of(module).pool(module, tokens)


def features(module: nn.Module, inputs: Tensor) -> Tensor:
    """Normalised inputs (N, 3, size, size) → pooled features (N, features)."""
    return pool(module, through(module, embed(module, inputs), 0))


def stem_features(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens after the stem (N, tokens, width) → (N, 2 · width): mean, then deviation."""
    prefix = family_of(module).dimensions(module).prefix
    patches = F.layer_norm(tokens[:, prefix:].float(), tokens.shape[-1:])
    deviation, mean = torch.std_mean(patches, dim=1, correction=0)
    return torch.cat([mean, deviation], dim=1)


def depth(module: nn.Module) -> int:
    """How many blocks there are."""
    return len(family_of(module).block_list(module))
