"""Evidence for a label by integrated gradients over the patches of a late layer."""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from medlego.base import depth, through
from medlego.prediction.saliency.scene import Scene

STEPS = 8
"""Points of the Gauss-Legendre rule; late blocks are smooth enough for so few (decision 026)."""
ROWS = 32
"""Token sequences that are differentiated at once."""


def late(depth: int) -> int:
    """The block whose input is looked at: before the last quarter of the blocks, at least one."""
    return depth - max(1, depth // 4)


def integrated_gradients(scene: Scene, tokens: Tensor, labels: Tensor) -> Tensor:
    """Each patch's evidence for a label, in log odds.

    The tokens before the last quarter of the blocks are compared with a plain image's, in which
    every patch's token is the mean of all patches; class token and registers stay as they are.
    A row's sum is what its patches change together: the log odds of the label beside those of the
    plain image.

    Args:
        scene: the adapted module and the head.
        tokens: (N, tokens, width), before the first block; N at most `ROWS`.
        labels: (N,) int64, the label asked of each image.

    Returns:
        (N, patches) float32, above zero for and below zero against the label.

    Source: Sundararajan et al. 2017, arXiv:1703.01365, by captum.
    Differs: starts from a late layer's tokens, since the path from a plain image through all
        blocks of a transformer needs more than fifty steps to add up.
    """
    start, patches = late(depth(scene.module)), slice(scene.prefix, None)
    with torch.no_grad():
        reached = through(scene.module, tokens, 0, start)
    plain = reached.clone()
    plain[:, patches] = reached[:, patches].mean(dim=1, keepdim=True)
    method = IntegratedGradients(lambda inner: scene.log_odds(inner, start))
    evidence: Tensor = method.attribute(
        reached,
        baselines=plain,
        target=labels,
        n_steps=STEPS,
        method="gausslegendre",
        internal_batch_size=ROWS,
    )
    return evidence[:, patches].sum(dim=-1).float().detach()
