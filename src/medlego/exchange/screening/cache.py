"""What each brick does alone, kept in the local cache, since newcomers are compared with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from medlego.bricks import Brick, on_device
from medlego.exchange.screening.behaviour import Ordinary, effect, furthest_push
from medlego.exchange.screening.patches import BATTERY
from medlego.generalist import specialist
from medlego.support import FrozenModel, Progress, cache_directory, silent, write_atomically


class Measured(FrozenModel):
    """A brick alone, on ordinary images."""

    effect: float
    """See `behaviour.effect`."""
    push: float
    """Of the patch that pushes furthest."""
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
    alone = specialist(brick)
    module = on_device(alone.fold(ordinary.base), ordinary.device)
    (reader,) = alone.readers
    furthest = furthest_push(module, reader, ordinary, show, what)
    found = Measured(
        effect=effect(module, ordinary),
        push=furthest.share,
        label=furthest.label,
        patch=furthest.patch.name,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, found.model_dump_json().encode())
    return found


def _path(brick: Brick, ordinary: Ordinary) -> Path:
    decided = json.dumps([BATTERY, brick.digest, ordinary.digest]).encode()
    return cache_directory() / "screening" / f"{hashlib.sha256(decided).hexdigest()}.json"
