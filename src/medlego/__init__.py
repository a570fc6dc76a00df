"""Specialist medical-image classifiers become one generalist without moving an image.

    base = Base.load("mini")
    bricks = [train_brick(base, dataset) for dataset in datasets]
    generalist = assemble(bricks)
    predict(generalist, ["scan.png"])

Names are loaded when first used, so that `import medlego` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlego.base import Base
    from medlego.brick import Brick
    from medlego.brickfile import load_brick, save_brick
    from medlego.evaluation import evaluate
    from medlego.generalist import Generalist, assemble
    from medlego.lowrank import LowRank
    from medlego.merge import METHODS
    from medlego.mergefiles import merge_files
    from medlego.prediction import predict
    from medlego.task import Task
    from medlego.train import TrainSettings, train_brick

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Base",
    "Brick",
    "Generalist",
    "LowRank",
    "Task",
    "TrainSettings",
    "assemble",
    "evaluate",
    "load_brick",
    "merge_files",
    "predict",
    "save_brick",
    "train_brick",
]

_HOMES = {
    "METHODS": "merge",
    "Base": "base",
    "Brick": "brick",
    "Generalist": "generalist",
    "LowRank": "lowrank",
    "Task": "task",
    "TrainSettings": "train",
    "assemble": "generalist",
    "evaluate": "evaluation",
    "load_brick": "brickfile",
    "merge_files": "mergefiles",
    "predict": "prediction",
    "save_brick": "brickfile",
    "train_brick": "train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medlego' has no attribute {name!r}")
    value = getattr(import_module(f"medlego.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
