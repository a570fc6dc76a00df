"""The card of a brick in training: what a person says of it, and what the training knows."""

from __future__ import annotations

import math
from collections import Counter

from medlego.base import Inputs
from medlego.bricks import Card, tools_used
from medlego.data import Dataset, describe
from medlego.errors import BrickError
from medlego.support import read_fields
from medlego.train.checkpoint import State
from medlego.train.epochs import curve


def card_notes(data: str | None, licence: str | None) -> Card:
    """The card's free text, refused before an hour of training instead of after it.

    Raises:
        BrickError: a text that a card cannot hold.
    """
    fields = {"data": data, "licence": licence}
    return read_fields(Card, fields, name="card", error=BrickError)


def training_card(
    notes: Card, dataset: Dataset, train: Inputs, val: Inputs, state: State, device: str
) -> Card:
    """The notes, with images, scores and epochs of a training as it stands."""
    labels = dataset.task.labels
    return notes.model_copy(
        update={
            "images": {
                "train": describe(dataset.train, labels),
                "val": describe(dataset.val, labels),
            },
            "scores": {
                name: round(score, 6)
                for name, score in state.best_scores.items()
                if math.isfinite(score)  # undefined where val has one label only
            },
            "made_with": tools_used(device),
            "mended": dict(Counter(train.mended()) + Counter(val.mended())),
            "epochs": curve(state.history),
        }
    )
