"""What each brick does alone, kept in the local cache, since newcomers are compared with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from medlego.bricks import Brick
from medlego.exchange.screening.behaviour import Behaviour, Ordinary
from medlego.exchange.screening.patches import BATTERY
from medlego.generalist import specialist
from medlego.support import FrozenModel, Progress, cache_directory, silent, write_atomically


class Measured(FrozenModel):
    """A brick alone, on ordinary images."""

    effect: float
    """See `Behaviour.effect`."""
    push: float
    """Of the patch that pushes furthest, see `behaviour.shares`."""
    label: str
    patch: str


def measure(
    brick: Brick, ordinary: Ordinary, show: Progress = silent, what: str = "patches"
) -> Measured:
    """Measure a brick alone, or read what was measured of it on these images before."""
    path = _path(brick, ordinary)
    try:
        return Measured.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        pass
    alone = Behaviour.of(specialist(brick), ordinary)
    ((name, pushes),) = alone.pushes(show, what).items()
    patch, label = divmod(int(pushes.argmax()), pushes.shape[1])
    measured = Measured(
        effect=alone.effect,
        push=float(pushes.max()),
        label=alone.readers[name].task.labels[label],
        patch=alone.patches[patch].name,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, measured.model_dump_json().encode())
    return measured


def _path(brick: Brick, ordinary: Ordinary) -> Path:
    decided = json.dumps([BATTERY, brick.digest, ordinary.digest]).encode()
    return cache_directory() / "screening" / f"{hashlib.sha256(decided).hexdigest()}.json"
