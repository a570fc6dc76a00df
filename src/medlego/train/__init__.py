"""Training bricks."""

from medlego.train.loop import train_brick
from medlego.train.settings import TrainSettings

__all__ = ["TrainSettings", "train_brick"]
