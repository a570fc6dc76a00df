"""Everything that learns: bricks, refitted heads, head rounds, adapting, searching, experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.train.adapt import CHOICES, DEFAULT_STARTS, adapt
    from medlego.train.epochs import (
        Callback,
        Epoch,
        EpochScores,
        epoch_logs,
        log_csv,
        log_tensorboard,
    )
    from medlego.train.experiment import Experiment
    from medlego.train.experiment_results import ExperimentResult, ExperimentScore
    from medlego.train.experiment_run import run_experiment
    from medlego.train.head_round import export_model, refit_head, with_heads
    from medlego.train.loop import train_brick
    from medlego.train.refit import refit_for_merge, refit_notes
    from medlego.train.search import Search, search_coefficients
    from medlego.train.settings import TrainSettings

__all__ = [
    "CHOICES",
    "DEFAULT_STARTS",
    "Callback",
    "Epoch",
    "EpochScores",
    "Experiment",
    "ExperimentResult",
    "ExperimentScore",
    "Search",
    "TrainSettings",
    "adapt",
    "epoch_logs",
    "export_model",
    "log_csv",
    "log_tensorboard",
    "refit_for_merge",
    "refit_head",
    "refit_notes",
    "run_experiment",
    "search_coefficients",
    "train_brick",
    "with_heads",
]

load_lazily(__name__)
