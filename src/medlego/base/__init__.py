"""The frozen transformer: loading, fingerprint, targets, blocks, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.base.base import Base, BaseLike, BaseRef, Digest, open_base
    from medlego.base.blocks import depth, embed, features, pool, stem_features, through
    from medlego.base.device import resolve_device
    from medlego.base.families import family_of
    from medlego.base.inputs import BATCH, LEFT_OUT, Inputs
    from medlego.base.mini import MINI_NAME
    from medlego.base.moments import Moments, input_moments
    from medlego.base.targets import DEFAULT_KINDS, TARGET_KINDS, Target, by_module, module_rows
    from medlego.base.weights import act_alike

__all__ = [
    "BATCH",
    "DEFAULT_KINDS",
    "LEFT_OUT",
    "MINI_NAME",
    "TARGET_KINDS",
    "Base",
    "BaseLike",
    "BaseRef",
    "Digest",
    "Inputs",
    "Moments",
    "Target",
    "act_alike",
    "by_module",
    "depth",
    "embed",
    "family_of",
    "features",
    "input_moments",
    "module_rows",
    "open_base",
    "pool",
    "resolve_device",
    "stem_features",
    "through",
]

load_lazily(__name__)
