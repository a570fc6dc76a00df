"""The mini base that the package carries, so that a first try needs no network.

Made by `tools/make_mini_base.py`; `data/mini_base.json` says what it saw.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

MINI_NAME = "mini"


def build_mini() -> nn.Module:
    """An untrained backbone of the mini base's shape: 64 px, patch 8, width 192, 6 blocks."""
    from timm.models.vision_transformer import VisionTransformer

    model: nn.Module = VisionTransformer(
        img_size=64, patch_size=8, embed_dim=192, depth=6, num_heads=3, num_classes=0
    )
    return model


def mini_weights() -> Path:
    """Where the embedded float16 weights lie."""
    return Path(str(files("medlego") / "data" / "mini_base.safetensors"))


def mini_card() -> dict[str, Any]:
    """Provenance, licence and normalisation of the mini base."""
    card: dict[str, Any] = json.loads((files("medlego") / "data" / "mini_base.json").read_text())
    return card
