"""The earlier bricks that a training run uses, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medlego.base import Base, Target
from medlego.bricks import TRAINED_WITH, Brick
from medlego.data import Task
from medlego.errors import BrickError, SettingsError, raise_all
from medlego.train.factors import Factors, LoraFactors, SvdFactors
from medlego.train.settings import TrainSettings
from medlego.train.warm_start import Foundation


@dataclass(frozen=True, eq=False)
class Earlier:
    """Bricks that were there before: the one to go on from, the others in the simulated merges,
    and those of other tasks that a new one is founded on.
    """

    start: Brick | None = None
    others: tuple[Brick, ...] = ()
    foundation: Foundation | None = None

    def check(self, base: Base, task: Task, settings: TrainSettings) -> None:
        """Refuse bricks that do not fit.

        Raises:
            BrickError: all problems of the others, or of the start, in one message.
            SettingsError: others for training that simulates no merge.
        """
        if self.others and not settings.merge_aware:
            raise SettingsError("others: expected with merge_aware, got it without; set it")
        problems = [
            f"brick {brick.task.name!r}: expected base {base.ref}, got {brick.base}; leave it out"
            for brick in self.others
            if brick.base != base.ref
        ]
        raise_all(BrickError, "others", problems)
        if self.start is not None:
            _check_start(base, task, settings, self.start)
        if self.foundation is not None:
            self.foundation.check(base, settings)
            if self.start is not None:
                raise SettingsError("start: expected none with a foundation, got both; choose one")

    def factors(self, targets: tuple[Target, ...], settings: TrainSettings, device: str) -> Factors:
        """What is trained, where it starts."""
        if self.foundation is not None:
            return self.foundation.factors(targets, settings, device)
        kind = SvdFactors if settings.parametrisation == "svd" else LoraFactors
        factors = kind(targets, settings, device)
        if self.start is not None:
            factors.load(self.start.deltas)
        return factors

    def record(self) -> dict[str, Any]:
        """What a brick's settings say of them."""
        settings: dict[str, Any] = {} if self.start is None else {"start": self.start.digest}
        if self.others:
            settings[TRAINED_WITH] = [brick.digest for brick in self.others]
        return settings | ({} if self.foundation is None else self.foundation.record())


def _check_start(base: Base, task: Task, settings: TrainSettings, start: Brick) -> None:
    """Refuse to go on from a brick of another base, task, rank or other targets.

    Raises:
        BrickError: all problems in one message.
    """
    problems = []
    if start.base != base.ref:
        problems.append(f"base: expected {base.ref}, got {start.base}; choose another brick")
    if (start.task.kind, start.task.labels) != (task.kind, task.labels):
        problems.append(
            f"task: expected {task.kind} with labels {list(task.labels)}, got {start.task.kind} "
            f"with {list(start.task.labels)}; choose another brick, or give its labels in its order"
        )
    if start.targets != (targets := base.targets(settings.targets, settings.stem)):
        problems.append(
            f"targets: expected the {len(targets)} of the settings, got {len(start.targets)}; "
            "set targets and stem to the brick's"
        )
    if ranks := {delta.rank for delta in start.deltas.values()} - {settings.rank}:
        problems.append(
            f"rank: expected {settings.rank}, got {max(ranks)}; set the rank to the brick's"
        )
    raise_all(BrickError, f"start {start.task.name!r}", problems)
