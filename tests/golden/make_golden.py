"""Make the golden files beside this script; their bytes are committed.

    python tests/golden/make_golden.py

Every number is exact in binary, so that no machine's rounding shows. Run it only when the
format changes on purpose, and raise `FORMAT_VERSION` with it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from medlego.base import BaseRef, Target
from medlego.base.base import fingerprint
from medlego.bricks import Brick, Card, Head, LowRank, save_brick
from medlego.data import Task
from medlego.data.task import Code

HERE = Path(__file__).parent
BRICK = HERE / "golden.brick.safetensors"

BASE_TENSORS = {
    "pos_embed": torch.tensor([[[0.5, -1.0]]]),
    "norm.bias": torch.tensor([0.25, 2.0], dtype=torch.float16),
}
"""Two tensors that stand for a whole backbone in the example of a fingerprint."""


def golden_brick() -> Brick:
    """A brick of one target, 4 × 4, at rank 2."""
    name = "blocks.0.attn.q"
    half = torch.tensor([[1, 1], [1, -1], [1, 1], [1, -1]]) * 0.5
    delta = LowRank(half, torch.tensor([2.0, 0.5]), half.T.flip(1).contiguous())
    weight = torch.tensor([[1.0, 0.0, -1.0, 0.5], [0.0, 2.0, 0.0, -0.5], [-1.0, 0.25, 1.0, 0.0]])
    return Brick(
        base=BaseRef(
            name="golden",
            fingerprint=fingerprint(BASE_TENSORS),
            image_size=16,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            licence="CC0-1.0",
            parameters=4,
            features=4,
        ),
        task=Task(
            name="golden",
            kind="multiclass",
            labels=("none", "naïve", "other"),
            codes=(None, Code(scheme="SCT", value="123", meaning="naïve"), None),
            modality="MR",
            body_part="BRAIN",
        ),
        targets=(Target(name, "blocks.0.attn.qkv", 0, 4, 4),),
        deltas={name: delta},
        head=Head(weight, torch.tensor([0.5, 0.0, -0.5])),
        settings={"learning_rate": 1e-05, "rank": 2, "targets": ["q"]},
        card=Card(
            images={"train": {"naïve": 3, "none": 4, "other": 5}},
            data="made by hand",
            scores={"balanced_accuracy": 0.75},
        ),
    )


if __name__ == "__main__":
    save_brick(golden_brick(), BRICK)
    print(BRICK.name, golden_brick().digest)
