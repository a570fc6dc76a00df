"""What bricks and generalists hold, as plain values that JSON can spell."""

from __future__ import annotations

from typing import Any

from medlego.bricks import Brick, Card
from medlego.generalist import Generalist
from medlego.prediction import working_readers
from medlego.support import plain

_BARS = "▁▂▃▄▅▆▇█"


def task_facts(generalist: Generalist) -> list[dict[str, Any]]:
    """Every task as it is answered, with its sites' weights."""
    return [
        {
            **plain(capability.task),
            "sites": [
                {"digest": brick.digest, "weight": weight}
                for brick, weight in zip(capability.bricks, capability.weights, strict=True)
            ],
            "notes": list(capability.notes),
        }
        for capability in generalist.capabilities
    ]


def curve_line(card: Card) -> str:
    """A brick's training in one line: its selecting score as bars, and where its losses went.

    Empty where the card has no epochs.
    """
    if not card.epochs:
        return ""
    scores = [point.score for point in card.epochs if point.score is not None]
    low, span = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
    bars = "".join(
        " " if point.score is None else _BARS[round((point.score - low) / (span or 1) * 7)]
        for point in card.epochs
    )
    first, last = card.epochs[0].epoch, card.epochs[-1].epoch
    ends = [
        f"{name} {values[0]:.3f} to {values[-1]:.3f}"
        for name, values in (
            ("score", scores),
            ("training loss", [p.train_loss for p in card.epochs if p.train_loss is not None]),
            ("validation loss", [p.val_loss for p in card.epochs if p.val_loss is not None]),
        )
        if values
    ]
    return f"{bars} epochs {first} to {last}: {', '.join(ends)}"


def brick_facts(brick: Brick) -> dict[str, Any]:
    """A brick without its tensors."""
    return {
        "type": "brick",
        "digest": brick.digest,
        "task": plain(brick.task),
        "base": plain(brick.base),
        "delta_parameters": brick.delta_parameters,
        "share_of_base": brick.share,
        "targets": {name: delta.rank for name, delta in brick.deltas.items()},
        "settings": dict(brick.settings),
        "grams": {module: gram.directions for module, gram in brick.grams.items()},
        "profile": None if brick.profile is None else plain(brick.profile.entry),
        "calibration": plain(brick.calibration),
        "card": plain(brick.card),
    }


def generalist_facts(generalist: Generalist) -> dict[str, Any]:
    """Recipe, lineage, tasks and bricks."""
    states = {name: reader.state for name, reader in working_readers(generalist).items()}
    return {
        "type": "generalist",
        "digest": generalist.recipe.digest,
        "recipe": plain(generalist.recipe),
        "relative_loss": generalist.relative_loss,
        "lineage": plain(generalist.lineage),
        "tasks": [
            {**facts, "calibration": states[facts["name"]]} for facts in task_facts(generalist)
        ],
        "bricks": [brick_facts(brick) for brick in generalist.bricks],
    }
