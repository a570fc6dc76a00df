"""The numbers of `medlego evaluate --json`, for the model that they were measured on alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from medlego.base import Digest
from medlego.bricks import Brick
from medlego.data import Text
from medlego.errors import SettingsError
from medlego.evaluation.result import GENERALIST, SPECIALIST
from medlego.generalist import Generalist
from medlego.metrics import State
from medlego.support import FrozenModel, read_document, read_expected

MAX_EVALUATION_BYTES = 64 << 20


class Score(FrozenModel, extra="ignore"):
    """A value with its interval; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class ScoredTask(FrozenModel, extra="ignore"):
    """One model's scores on one task, by name."""

    model: Text
    task: Text
    images: int
    scores: dict[Text, Score]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, row: Any) -> Any:
        """Scores stand beside the other keys of a row."""
        if not isinstance(row, dict) or "scores" in row:
            return row
        intervals = {k: v for k, v in row.items() if isinstance(v, Mapping) and "low" in v}
        return {**row, "scores": intervals}


class SubgroupScores(FrozenModel, extra="ignore"):
    """The generalist on a part of a task's images; `small` marks too few to judge."""

    group: Text
    value: Text
    images: int
    small: bool
    balanced_accuracy: Score
    auroc: Score


class Detail(FrozenModel, extra="ignore"):
    """What else is known of the generalist on one task."""

    calibration: State = "none"
    subgroups: tuple[SubgroupScores, ...] = ()


class Evaluated(FrozenModel, extra="ignore"):
    """What was evaluated, by digest, and how it scored."""

    generalist: Digest
    bricks: dict[Text, tuple[Digest, ...]]
    """Per task the bricks that answer it."""
    split: Text
    level: float
    rows: tuple[ScoredTask, ...]
    tasks: dict[Text, Detail] = Field(default_factory=dict)
    """The generalist's, by task."""

    @classmethod
    def load(cls, path: str | Path) -> Evaluated:
        """Read what `medlego evaluate --json` wrote.

        Raises:
            SettingsError: no such file, or something else in it.
        """
        content = read_expected(Path(path), MAX_EVALUATION_BYTES, SettingsError, "an evaluation")
        name = f"{path}: expected what medlego evaluate --json FILE writes"
        return read_document(cls, content, name=name, error=SettingsError)

    def of_generalist(self, generalist: Generalist) -> tuple[ScoredTask, ...]:
        """The generalist's rows.

        Raises:
            SettingsError: another generalist was evaluated.
        """
        if self.generalist != generalist.recipe.digest:
            raise SettingsError(
                f"evaluation: expected one of generalist {generalist.recipe.digest[:12]}…, got one "
                f"of {self.generalist[:12]}…; evaluate this one"
            )
        return tuple(row for row in self.rows if row.model == GENERALIST)

    def of_brick(self, brick: Brick) -> tuple[ScoredTask, ...]:
        """The brick's rows, as the specialist of its task.

        Raises:
            SettingsError: the brick was not evaluated, or only together with other sites.
        """
        name = brick.task.name
        if self.bricks.get(name) != (brick.digest,):
            digests = ", ".join(digest[:12] for digest in self.bricks.get(name, ())) or "none"
            raise SettingsError(
                f"evaluation: expected brick {brick.digest[:12]}… alone as {name}, got {digests}; "
                "evaluate a generalist that has this brick"
            )
        rows = tuple(r for r in self.rows if r.model == SPECIALIST and r.task == name)
        if not rows:
            raise SettingsError(
                f"evaluation: expected scores of {name}, got none; evaluate with --data {name}=DATA"
            )
        return rows
