"""Do maps depend on what was learnt? They must not survive a model whose weights are random.

Head, then deltas, then blocks are randomised, each on top of the one before, and the map is
compared with the trained model's. A map that stays the same draws the image, not the model.

Source: Adebayo et al. 2018, arXiv:1810.03292, cascading randomisation.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from medlego.base import Base, family_of
from medlego.bricks import Adapter, Head, LowRank
from medlego.generalist import Generalist
from medlego.images import Image
from medlego.merge import Capability
from medlego.prediction.saliency.explain import BATCH, METHODS, check_method, embedded
from medlego.prediction.saliency.scene import Scene, answering

STAGES = ("head", "deltas", "blocks")
"""What is random, with all that stands before it here."""


def agreement(
    generalist: Generalist,
    images: Sequence[Image],
    task: str,
    *,
    method: str = "gradient",
    base: Base | None = None,
    mode: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Rank correlation of each image's map with that of a model of random weights.

    Args:
        generalist, images, task, method, base, mode, device: as for `explain`.
        seed: of the random weights.

    Returns:
        Per stage one Spearman correlation per image, NaN where a map is constant. One means that
        the map does not depend on what was randomised.

    Raises:
        GeneralistError: no such task or method, or another base.
        BaseError: the base is not to be found.
    """
    check_method(method)
    base = generalist.find_base(base)
    adapter, reader = answering(generalist, task, base, mode)
    trained = Scene.of(base, adapter, reader, device)
    others = {
        stage: Scene.of(*randomised(base, adapter, reader, stage, seed), device) for stage in STAGES
    }
    correlations: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for start in range(0, len(images), BATCH):
        tokens = embedded(trained, images[start : start + BATCH])
        with torch.no_grad():
            labels = trained.log_odds(tokens, 0).argmax(dim=1)
        before = METHODS[method](trained, tokens, labels).cpu().numpy()
        for stage, scene in others.items():
            after = METHODS[method](scene, tokens, labels).cpu().numpy()
            correlations[stage] += map(_rank_correlation, before, after)
    return correlations


def randomised(
    base: Base, adapter: Adapter, reader: Capability, stage: str, seed: int = 0
) -> tuple[Base, Adapter, Capability]:
    """A model whose weights are random up to a stage of `STAGES`, every tensor on its own scale.

    What embeds the patches stays, so that all models see the same tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    reach = STAGES.index(stage)
    head = Head(_alike(reader.head.weight, generator), _alike(reader.head.bias, generator))
    if reach >= 1:
        deltas = {name: _turned(delta, generator) for name, delta in adapter.deltas.items()}
        adapter = replace(adapter, deltas=deltas)
    if reach >= 2:
        module = copy.deepcopy(base.module)
        for block in family_of(module).block_list(module):
            for parameter in block.parameters():
                parameter.data = _alike(parameter.data, generator)
        base = replace(base, module=module)
    return base, adapter, replace(reader, head=head)


def _alike(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of a tensor's mean and deviation."""
    drawn = torch.randn(tensor.shape, generator=generator)
    return tensor.mean() + tensor.std(correction=0) * drawn.to(tensor)


def _turned(delta: LowRank, generator: torch.Generator) -> LowRank:
    """The same singular values in random directions."""
    out, width = delta.U.shape[0], delta.Vh.shape[1]
    left = torch.linalg.qr(torch.randn(out, delta.rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(width, delta.rank, generator=generator)).Q
    return replace(delta, U=left.to(delta.U), Vh=right.T.contiguous().to(delta.Vh))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)
