"""The only place where a base's modules change: deltas folded in, attached, or mixed in a batch.

A base is never modified. Every function returns a copy that shares all tensors it does not change.
"""

from medlego.adapters.folding import fold
from medlego.adapters.mixed import Adapter, Mixed
from medlego.adapters.surgery import on_device
from medlego.adapters.trainable import AdaptedLinear, attach, set_company
from medlego.adapters.weighted import attach_weighted

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
