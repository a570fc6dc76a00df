"""Everything that learns: a brick, a refitted head, a head round, adapting, searching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.train.adapt import CHOICES, DEFAULT_STARTS, adapt
    from medlego.train.head_round import export_model, refit_head, with_heads
    from medlego.train.loop import train_brick
    from medlego.train.refit import refit_for_merge, refit_notes
    from medlego.train.search import Search, search_coefficients
    from medlego.train.settings import TrainSettings

__all__ = [
    "CHOICES",
    "DEFAULT_STARTS",
    "Search",
    "TrainSettings",
    "adapt",
    "export_model",
    "refit_for_merge",
    "refit_head",
    "refit_notes",
    "search_coefficients",
    "train_brick",
    "with_heads",
]

load_lazily(__name__)
