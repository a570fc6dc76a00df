"""The frozen transformer: loading, fingerprint, targets, blocks, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.base.base import Base, BaseRef, Digest, features
    from medlego.base.blocks import depth, embed, pool, stem_features, through
    from medlego.base.inputs import Inputs
    from medlego.base.mini import MINI_NAME
    from medlego.base.moments import Moments, input_moments
    from medlego.base.targets import DEFAULT_KINDS, TARGET_KINDS, Target

__all__ = [
    "DEFAULT_KINDS",
    "MINI_NAME",
    "TARGET_KINDS",
    "Base",
    "BaseRef",
    "Digest",
    "Inputs",
    "Moments",
    "Target",
    "depth",
    "embed",
    "features",
    "input_moments",
    "pool",
    "stem_features",
    "through",
]

load_lazily(__name__)
