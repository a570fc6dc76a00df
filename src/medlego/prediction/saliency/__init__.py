"""Where a generalist looked: maps of what spoke for a label, laid over the images."""

from medlego.prediction.saliency.explain import METHODS, explain
from medlego.prediction.saliency.maps import Saliency
from medlego.prediction.saliency.overlay import overlay, save_overlay
from medlego.prediction.saliency.randomised import STAGES, agreement, randomised

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
