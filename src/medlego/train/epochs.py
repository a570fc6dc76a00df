"""What a training tells after each epoch, and who listens: CSV, TensorBoard, a card's curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medlego.bricks import MAX_CURVE, MAX_POINT, Brick, EpochPoint
from medlego.errors import SettingsError
from medlego.support import NoPickle, ShortRepr, csv_text, write_atomically

CSV_ENDING = ".epochs.csv"
TENSORBOARD_ENDING = ".tensorboard"
EVENTS = "events.out.tfevents.*"


@dataclass(frozen=True, repr=False)
class EpochScores(ShortRepr):
    """One epoch in numbers."""

    number: int
    """Epochs done; 0 before the first, where the head was fitted first."""
    train_loss: float | None
    """Mean over the epoch's images, as trained on: augmented and smoothed; None for epoch 0."""
    scores: Mapping[str, float]
    """Validation scores and `loss`; those in a simulated merge end with `_in_merge`. A callback's
    are read-only."""
    selecting: float
    """What the epochs are compared by."""
    rate: float
    """Share of the full learning rates at the epoch's last step."""
    best: bool
    """Whether it is the best so far."""

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies, which know no read-only view."""
        return {**vars(self), "scores": dict(self.scores)}


@dataclass(frozen=True, repr=False)
class Epoch(EpochScores, NoPickle, instead="make a value of its numbers"):
    """What a callback gets; `brick()` makes this epoch's brick, until all callbacks were called."""

    epochs: int
    """How many there will be at most."""
    history: Sequence[EpochScores]
    """Every epoch so far, this one last, also those before an interruption."""
    brick: Callable[[], Brick] = field(repr=False)
    run: str = ""
    """Which of several trainings it is: the start, in `adapt`."""


Callback = Callable[[Epoch], object]


def check_callbacks(callbacks: object) -> None:
    """Refuse what cannot be called, before an epoch is trained.

    Raises:
        SettingsError: no list of functions.
    """
    if not isinstance(callbacks, Sequence) or not all(callable(one) for one in callbacks):
        raise SettingsError(
            "callbacks: expected a list of functions that take an Epoch, got "
            f"{type(callbacks).__name__}; write callbacks=[f]"
        )


def log_path(brick: str | Path, ending: str, run: str = "") -> Path:
    """A file or folder named after a brick's file: `NAME.brick.safetensors` → `NAME` + ending."""
    path = Path(brick)
    name = path.name.removesuffix(".safetensors").removesuffix(".brick")
    return path.with_name(f"{name}.{run}{ending}" if run else f"{name}{ending}")


def log_csv(brick: str | Path) -> Callback:
    """A callback that writes `NAME.epochs.csv` beside a brick's file, whole after every epoch."""

    def write(epoch: Epoch) -> None:
        text = as_csv(epoch.history)
        write_atomically(log_path(brick, CSV_ENDING, epoch.run), text.encode())

    return write


def as_csv(history: Sequence[EpochScores]) -> str:
    """One line an epoch; undefined numbers are empty."""
    names = list(dict.fromkeys(name for row in history for name in row.scores))
    columns = ("epoch", "train_loss", *(f"val_{name}" for name in names), "selecting", "rate")
    rows = []
    for row in history:
        scores = (row.scores.get(name) for name in names)
        numbers = (row.train_loss, *scores, row.selecting, row.rate)
        rows.append((row.number, *map(_cell, numbers), int(row.best)))
    return csv_text((*columns, "best"), rows)


def _cell(number: float | None) -> str:
    return repr(number) if number is not None and math.isfinite(number) else ""


def log_tensorboard(brick: str | Path) -> Callback:
    """A callback that writes `NAME.tensorboard/` beside a brick's file; needs `tensorboard`."""
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}

    def write(epoch: Epoch) -> None:
        if epoch.run not in writers:
            folder = log_path(brick, TENSORBOARD_ENDING) / epoch.run
            if len(epoch.history) == 1:  # a run from its start: what lies there is another's
                for file in folder.glob(EVENTS):
                    file.unlink()
            writers[epoch.run] = SummaryWriter(str(folder), purge_step=epoch.number)
        writer = writers[epoch.run]
        values = {f"val/{name}": score for name, score in epoch.scores.items()}
        if epoch.train_loss is not None:
            values["train/loss"] = epoch.train_loss
        for name, value in {**values, "rate": epoch.rate}.items():
            writer.add_scalar(name, value, epoch.number)
        writer.flush()

    return write


def epoch_logs(
    brick: str | Path, runs: Sequence[str] = ("",), *, tensorboard: bool = False
) -> tuple[list[Path], list[Callback]]:
    """The files of earlier logs beside a brick's file, and the callbacks that write new ones."""
    files = [log_path(brick, CSV_ENDING, run) for run in runs]
    callbacks = [log_csv(brick)]
    if tensorboard:
        files += sorted(log_path(brick, TENSORBOARD_ENDING).rglob(EVENTS))
        callbacks.append(log_tensorboard(brick))
    return [file for file in files if file.exists()], callbacks


def curve(history: Sequence[EpochScores]) -> tuple[EpochPoint, ...]:
    """The history for a card: rounded, thinned to `MAX_CURVE` points, the best among them."""
    last = len(history) - 1
    kept = set(range(len(history)))
    if len(history) > MAX_CURVE:
        kept = {round(i * last / (MAX_CURVE - 2)) for i in range(MAX_CURVE - 1)}
        kept.add(max(i for i, row in enumerate(history) if row.best or i == 0))
    return tuple(
        EpochPoint(
            epoch=row.number,
            train_loss=_rounded(row.train_loss),
            val_loss=_rounded(row.scores["loss"]),
            score=_rounded(row.selecting),
        )
        for row in (history[i] for i in sorted(kept))
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None or not abs(number) <= MAX_POINT else round(number, 4)
