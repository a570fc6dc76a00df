"""A new task learnt from a generalist: several starts, the best on validation, one plain brick.

A generalist's deltas bend the base towards medical images, which helps a task that none of its
bricks knew. What comes out stands on the plain base like any other brick.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from medlego.base import Base, resolve_device
from medlego.bricks import Brick, load_brick, save_brick
from medlego.data import Dataset
from medlego.errors import SettingsError
from medlego.generalist import Generalist
from medlego.support import Progress, parse_object, silent, write_atomically
from medlego.train.checkpoint import run_identity
from medlego.train.epochs import Callback, Epoch, check_callbacks
from medlego.train.loop import train_brick
from medlego.train.settings import TrainSettings
from medlego.train.starting_points import Earlier
from medlego.train.warm_start import Foundation

Choice = Literal["plain", "head", "merged", "directions", "coefficients"]
CHOICES: dict[Choice, str] = {
    "plain": "the base alone",
    "head": "the base alone, head fitted first",
    "merged": "a new brick on the frozen merge, head fitted first",
    "directions": "a new brick from the merge's leading directions, head fitted first",
    "coefficients": "only the bricks' coefficients, head fitted first",
}
"""What training starts from; `medlego.train.warm_start` has those that need a generalist."""
DEFAULT_STARTS: tuple[Choice, ...] = ("plain", "merged", "directions")
"""What is tried where nothing is said: `head` is a control, and `coefficients` did worse on
validation whatever the number of images (decision 022)."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """One start's training: its brick, and the selecting validation score after each epoch; where
    the head was fitted first, the first one is that before any epoch.
    """

    start: Choice
    brick: Brick
    history: tuple[float, ...]

    @property
    def score(self) -> float:
        """The best selecting score."""
        return max(self.history)


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What every start came to, and the brick that was chosen.

    `relative_loss` is the share of its deltas' Frobenius norm that a cut to a rank lost.
    """

    brick: Brick
    chosen: Choice
    attempts: tuple[Attempt, ...]
    relative_loss: float


def adapt(
    generalist: Generalist,
    dataset: Dataset,
    settings: TrainSettings | None = None,
    *,
    base: Base | None = None,
    starts: Sequence[str] = DEFAULT_STARTS,
    rank: int | None = None,
    checkpoint: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    device: str = "auto",
    data_note: str | None = None,
    licence: str | None = None,
    save: Callable[[Brick], object] | None = None,
    show: Progress = silent,
) -> Adaptation:
    """Train a new task's brick from each start and keep the one that is best on `val`.

    Args:
        generalist: its merged deltas, whatever its mode, and its bricks.
        dataset: the new task's labelled images; `test` stays unread.
        settings: of every start's training.
        base: the generalist's base; found by fingerprint when left out.
        starts: any of `CHOICES`; of equal scores the first one here is kept.
        rank: cut the kept brick's deltas to this rank; None keeps them exact. Deltas of
            `merged` and `coefficients` have the ranks of all bricks together.
        checkpoint: what names of files begin with that keep each start's state, and what finished
            starts came to, so that a killed run goes on; they go when all are done.
        callbacks: as for `train_brick`; `Epoch.run` is the start.
        device, data_note, licence, save: as for `train_brick`.
        show: called with what is under way, done and total.

    Raises:
        SettingsError: an unknown start, none, one twice, a rank below 1, or callbacks that are
            no functions.
        BrickError, TrainingError: as `train_brick`.
        BaseError: the base is not to be found.
    """
    choices = _choices(starts, rank)
    check_callbacks(callbacks)
    base = generalist.find_base(base)
    generalist.check_base(base)
    settings = settings or TrainSettings()
    device = resolve_device(device)
    attempts, finished = [], []
    for start in choices:
        below = foundation(generalist, start)
        own = settings if start == "plain" else settings.model_copy(update={"head_first": True})
        done = None
        if checkpoint is not None:
            identity = run_identity(base, dataset, own, Earlier(foundation=below), device)
            fields = own.model_dump(mode="json", by_alias=True)
            owner = [identity, fields, data_note, licence]
            done = _Done(Path(f"{checkpoint}.{start}"), owner)
            finished.append(done)
            if (attempt := done.read(start)) is not None:
                attempts.append(attempt)
                continue
        history: list[float] = []
        keep = None if done is None else partial(done.write, history)
        brick = train_brick(
            base,
            dataset,
            own,
            foundation=below,
            checkpoint=None if done is None else done.path,
            device=device,
            data_note=data_note,
            licence=licence,
            callbacks=[partial(_copy, history), *(partial(_tell, c, start) for c in callbacks)],
            save=keep,
            show=partial(_named, show, start),
        )
        attempts.append(Attempt(start, brick, tuple(history)))
    best = max(attempts, key=lambda a: a.score if math.isfinite(a.score) else -math.inf)
    brick, loss = cut_brick(best.brick, rank)
    if save is not None:
        save(brick)
    for done in finished:
        done.remove()
    return Adaptation(brick, best.start, tuple(attempts), loss)


def _copy(history: list[float], epoch: Epoch) -> None:
    history[:] = [row.selecting for row in epoch.history]


def _tell(callback: Callback, start: Choice, epoch: Epoch) -> None:
    callback(replace(epoch, run=start))


def _named(show: Progress, start: Choice, what: str, done: int, total: int) -> None:
    show(f"start {start}: {what}", done, total)


@dataclass(frozen=True)
class _Done:
    """A finished start on disk: its brick, and beside it whose it is and the history.

    `owner` has all that decides the brick: more than a run's identity, which leaves out what is
    added after training, such as the profile, and the card's notes.
    """

    path: Path
    owner: list[Any]

    @property
    def _files(self) -> tuple[Path, Path]:
        name = self.path.name
        return self.path.with_name(f"{name}.brick"), self.path.with_name(f"{name}.json")

    def read(self, start: Choice) -> Attempt | None:
        """What it came to; None where it is not there, damaged or another run's."""
        file, note = self._files
        if not (file.exists() and note.exists()):
            return None
        try:
            document = parse_object(note.read_bytes())
        except ValueError:
            return None
        if document.get("owner") != self.owner:
            return None
        return Attempt(start, load_brick(file), tuple(document["history"]))

    def write(self, history: Sequence[float], brick: Brick) -> None:
        """Keep it, the note last."""
        file, note = self._files
        save_brick(brick, file)
        document = {"owner": self.owner, "history": list(history)}
        write_atomically(note, json.dumps(document).encode())

    def remove(self) -> None:
        """When nothing needs it any more."""
        for file in self._files:
            file.unlink(missing_ok=True)


def foundation(generalist: Generalist, start: Choice) -> Foundation | None:
    """What training from a start is given besides the base, if anything."""
    if start == "plain" or start == "head":
        return None
    return Foundation(
        start=start,
        bricks=generalist.bricks,
        targets=generalist.targets,
        deltas=generalist.deltas,
        coefficients=tuple(item.coefficient for item in generalist.recipe.bricks),
        origin=generalist.recipe.model,
    )


def cut_brick(brick: Brick, rank: int | None) -> tuple[Brick, float]:
    """A brick with deltas of at most a rank, and the share of their Frobenius norm that is lost.

    What is cut gives other logits, so its calibration is left out.
    """
    if rank is None:
        return brick, 0.0
    cuts = {name: delta.truncate(min(rank, delta.rank)) for name, delta in brick.deltas.items()}
    lost = sum(loss**2 for _, loss in cuts.values())
    whole = sum(delta.norm() ** 2 for delta in brick.deltas.values())
    cut = replace(
        brick,
        deltas={name: delta for name, (delta, _) in cuts.items()},
        settings={**brick.settings, "cut_to_rank": rank},
        calibration=None if lost else brick.calibration,
    )
    return cut, math.sqrt(lost / whole) if whole else 0.0


def _choices(starts: Sequence[str], rank: int | None) -> tuple[Choice, ...]:
    choices = [choice for text in starts for choice in CHOICES if choice == text]
    if not starts or len(choices) != len(starts) or len(set(choices)) != len(choices):
        raise SettingsError(
            f"starts: expected distinct ones out of {', '.join(CHOICES)}, got "
            f"{', '.join(starts) or 'none'}"
        )
    if rank is not None and rank < 1:
        raise SettingsError(f"rank: expected at least 1, got {rank}")
    return tuple(choices)
