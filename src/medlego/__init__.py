"""Specialist medical-image classifiers become one generalist without moving an image.

    base = Base.load("mini")
    bricks = [train_brick(base, dataset) for dataset in datasets]
    generalist = assemble(bricks)
    predict(generalist, ["scan.png"])

Names are loaded when first used, so that `import medlego` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.base import Base
    from medlego.bricks import Brick, LowRank, load_brick, save_brick
    from medlego.data import Dataset, Task, load_dataset
    from medlego.evaluation.evaluate import evaluate
    from medlego.generalist import Generalist, assemble
    from medlego.merge import METHODS, merge_files
    from medlego.prediction.predict import predict
    from medlego.train import TrainSettings, train_brick

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Base",
    "Brick",
    "Dataset",
    "Generalist",
    "LowRank",
    "Task",
    "TrainSettings",
    "assemble",
    "evaluate",
    "load_brick",
    "load_dataset",
    "merge_files",
    "predict",
    "save_brick",
    "train_brick",
]

load_lazily(__name__)
