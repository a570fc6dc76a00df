"""The only place where a base's modules change: deltas folded in, attached, or mixed in a batch.

A base is never modified. Every function returns a copy that shares all tensors it does not change.
"""

from medlego.bricks.adapters.folding import fold
from medlego.bricks.adapters.mixed import Adapter, Mixed
from medlego.bricks.adapters.surgery import on_device
from medlego.bricks.adapters.trainable import AdaptedLinear, attach, set_company
from medlego.bricks.adapters.weighted import attach_weighted

__all__ = [
    "AdaptedLinear",
    "Adapter",
    "Mixed",
    "attach",
    "attach_weighted",
    "fold",
    "on_device",
    "set_company",
]
