"""Where a generalist looked: maps of what spoke for a label, laid over the images."""

from medlego.saliency.explain import METHODS, explain
from medlego.saliency.maps import Saliency
from medlego.saliency.overlay import overlay, save_overlay
from medlego.saliency.randomised import STAGES, agreement, randomised

__all__ = [
    "METHODS",
    "STAGES",
    "Saliency",
    "agreement",
    "explain",
    "overlay",
    "randomised",
    "save_overlay",
]
