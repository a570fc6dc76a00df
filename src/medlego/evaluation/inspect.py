"""What bricks and generalists hold, as plain values that JSON can spell."""

from __future__ import annotations

from typing import Any

from medlego.bricks import Brick
from medlego.generalist import Generalist
from medlego.prediction import working_readers


def task_facts(generalist: Generalist) -> list[dict[str, Any]]:
    """Every task as it is answered, with its sites' weights."""
    return [
        {
            **held.task.model_dump(mode="json"),
            "sites": [
                {"digest": brick.digest, "weight": weight}
                for brick, weight in zip(held.bricks, held.weights, strict=True)
            ],
            "notes": list(held.notes),
        }
        for held in generalist.capabilities
    ]


def brick_facts(brick: Brick) -> dict[str, Any]:
    """A brick without its tensors."""
    return {
        "type": "brick",
        "digest": brick.digest,
        "task": brick.task.model_dump(mode="json"),
        "base": brick.base.model_dump(mode="json"),
        "delta_parameters": brick.delta_parameters,
        "share_of_base": brick.share,
        "targets": {name: delta.rank for name, delta in brick.deltas.items()},
        "settings": dict(brick.settings),
        "grams": {module: gram.directions for module, gram in brick.grams.items()},
        "profile": None if brick.profile is None else brick.profile.entry.model_dump(mode="json"),
        "calibration": None
        if brick.calibration is None
        else brick.calibration.model_dump(mode="json"),
        "card": brick.card.model_dump(mode="json"),
    }


def generalist_facts(generalist: Generalist) -> dict[str, Any]:
    """Recipe, lineage, tasks and bricks."""
    states = {name: reader.state for name, reader in working_readers(generalist).items()}
    return {
        "type": "generalist",
        "digest": generalist.recipe.digest,
        "recipe": generalist.recipe.model_dump(mode="json"),
        "relative_loss": generalist.relative_loss,
        "lineage": [step.model_dump(mode="json") for step in generalist.lineage],
        "tasks": [
            {**facts, "calibration": states[facts["name"]]} for facts in task_facts(generalist)
        ],
        "bricks": [brick_facts(brick) for brick in generalist.bricks],
    }
