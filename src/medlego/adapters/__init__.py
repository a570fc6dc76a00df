"""The only place where a base's modules change: deltas folded in, attached, or mixed in a batch.

A base is never modified. Every function returns a copy that shares all tensors it does not change.
"""

from medlego.adapters.folding import fold
from medlego.adapters.mixed import Adapter, Mixed
from medlego.adapters.surgery import on_device
from medlego.adapters.trainable import AdaptedLinear, attach, set_company

__all__ = ["AdaptedLinear", "Adapter", "Mixed", "attach", "fold", "on_device", "set_company"]
