"""PEFT's own merges of medlego's bricks: the same factors, on separate q and v maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks import Brick
from medlego.merge.methods.ties import DENSITY


@dataclass(frozen=True, eq=False)
class Dense:
    """A delta held in full, (out, in)."""

    matrix: Tensor

    def dense(self) -> Tensor:
        """The delta itself."""
        return self.matrix


def peft_merge(
    bricks: Sequence[Brick], kind: str, coefficient: float, *, seed: int = 0
) -> Mapping[str, Dense]:
    """The merged deltas of `add_weighted_adapter(combination_type=kind)`, by target name.

    Args:
        bricks: of equal targets and rank; their factors U √S and √S Vh go in as LoRA's B and A.
        kind: `linear`, `svd`, `ties_svd` or `dare_ties_svd`; merged at the bricks' summed rank,
            except `linear`, which sums A and B each and keeps one brick's rank. PEFT has no
            default density; the last two take that of our `ties`.
        coefficient: PEFT's weight of every adapter.
        seed: of the random drops; PEFT draws from torch's global generator.
    """
    targets = {target.name.replace(".", "_"): target for target in bricks[0].targets}
    rank = bricks[0].deltas[bricks[0].targets[0].name].rank
    layers = nn.ModuleDict(
        {name: nn.Linear(t.in_features, t.shape[0], bias=False) for name, t in targets.items()}
    )
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))
    adapters = [f"adapter{number}" for number in range(len(bricks))]
    model = get_peft_model(layers, config, adapter_name=adapters[0])
    for adapter in adapters[1:]:
        model.add_adapter(adapter, config)
    adapted: Any = model.base_model.model
    for adapter, brick in zip(adapters, bricks, strict=True):
        for name, target in targets.items():
            _fill(adapted[name], adapter, brick, target)
    options: dict[str, Any] = {"combination_type": kind}
    if kind != "linear":
        options["svd_rank"] = rank * len(bricks)
    if "ties" in kind:
        options["density"] = DENSITY
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.add_weighted_adapter(adapters, [coefficient] * len(bricks), "merged", **options)
    return {
        target.name: Dense(adapted[name].get_delta_weight("merged").detach())
        for name, target in targets.items()
    }


def _fill(layer: Any, adapter: str, brick: Brick, target: Target) -> None:
    delta = brick.deltas[target.name]
    root = delta.S.sqrt()
    layer.lora_B[adapter].weight.data = delta.U * root
    layer.lora_A[adapter].weight.data = root[:, None] * delta.Vh
