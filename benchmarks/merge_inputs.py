"""What the speed of merges is measured on: one set of factors, as bricks and as PEFT's adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from medlego.base import BaseRef, Target
from medlego.bricks import Brick, Card, Head, LowRank, brick_bytes
from medlego.data import Task

WIDTH, LAYERS, BRICKS, RANK, ALPHA = 768, 24, 8, 4, 8
FULL_RANK = BRICKS * RANK
COEFFICIENT = BRICKS**-0.5
NAMES = [f"layer{number}" for number in range(LAYERS)]
ADAPTERS = [f"adapter{number}" for number in range(BRICKS)]

Factors = dict[str, dict[str, tuple[Tensor, Tensor]]]


def make_factors(seed: int = 0, adapters: Sequence[str] = ADAPTERS) -> Factors:
    """B (out, rank) and A (rank, in) of every adapter and layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        adapter: {
            name: (
                torch.randn(WIDTH, RANK, generator=generator) / WIDTH**0.5,
                torch.randn(RANK, WIDTH, generator=generator) / WIDTH**0.5,
            )
            for name in NAMES
        }
        for adapter in adapters
    }


def make_bricks(factors: Factors) -> list[Brick]:
    """The adapters as bricks of nine classes each."""
    ref = BaseRef(
        name="vit_base_patch16_224",
        fingerprint="0" * 64,
        image_size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        parameters=85_798_656,
        features=WIDTH,
    )
    targets = tuple(Target(name, name, 0, WIDTH, WIDTH) for name in NAMES)
    labels = tuple(f"label{number}" for number in range(9))
    return [
        Brick(
            base=ref,
            task=Task(name=adapter, kind="multiclass", labels=labels),
            targets=targets,
            deltas={n: LowRank.from_factors(*f, ALPHA / RANK) for n, f in layers.items()},
            head=Head(torch.zeros(9, WIDTH), torch.zeros(9)),
            settings={},
            card=Card(),
        )
        for adapter, layers in factors.items()
    ]


def make_peer(factors: Factors) -> PeftModel:
    """The adapters in PEFT, on a model of as many linear layers."""
    first, *others = factors
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=NAMES, use_rslora=False)
    layers = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH, bias=False) for name in NAMES})
    model = get_peft_model(layers, config, adapter_name=first)
    for adapter in others:
        model.add_adapter(adapter, config)
    adapted: Any = model.base_model.model
    for adapter, by_layer in factors.items():
        for name, (B, A) in by_layer.items():
            layer = adapted[name]
            layer.lora_B[adapter].weight.data = B.clone()
            layer.lora_A[adapter].weight.data = A.clone()
    return model


def write_bricks(folder: Path, count: int) -> None:
    """As many brick files, each of factors of its own."""
    for number in range(count):
        (brick,) = make_bricks(make_factors(1 + number, [f"brick{number}"]))
        (folder / f"{number:06d}.brick.safetensors").write_bytes(brick_bytes(brick))
