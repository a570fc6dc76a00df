"""The JSON documents of brick and head files: what stands in them, and what must fit together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from torch import Tensor

from medlego.base import BaseRef, Digest, Target
from medlego.bricks.content import content_digest
from medlego.bricks.gram import MAX_GRAM_DIRECTIONS, MIN_GRAM_IMAGES
from medlego.bricks.profile import ProfileEntry
from medlego.data import Plain, Task
from medlego.errors import BrickError
from medlego.metrics import Calibration, calibration_problems
from medlego.support import FrozenModel, left_out, shown

MAX_TARGETS = 4096
MAX_RANK = 1024
MAX_WIDTH = 1 << 17
MAX_POINT = 1e12
"""Losses and scores of a curve lie between it and its negative; so they can be drawn."""
MAX_CURVE = 50
"""Points of a card's training curve at most."""

_PATH = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"
_Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Scalar = str | int | float | bool | None


class TargetEntry(FrozenModel):
    """An adapted linear map, and the rank of its delta."""

    name: Annotated[str, Field(pattern=_PATH, max_length=200)]
    module: Annotated[str, Field(pattern=_PATH, max_length=200)]
    rows: tuple[Annotated[int, Field(ge=0, le=MAX_WIDTH)], _Width]
    in_features: _Width
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)]

    @classmethod
    def of(cls, target: Target, rank: int) -> TargetEntry:
        """A target's."""
        rows, inputs = (target.start, target.stop), target.in_features
        return cls(name=target.name, module=target.module, rows=rows, in_features=inputs, rank=rank)

    @property
    def target(self) -> Target:
        """The map itself."""
        return Target(self.name, self.module, *self.rows, self.in_features)


class GramEntry(FrozenModel):
    """What a brick's document says of a Gram."""

    directions: Annotated[int, Field(ge=1, le=MAX_GRAM_DIRECTIONS)]
    images: Annotated[int, Field(ge=MIN_GRAM_IMAGES)]


def _not_null(entry: Any) -> Any:
    """What may be left out, but not null."""
    if entry is None:
        raise ValueError("expected an object, got null; leave the key out")
    return entry


Point = Annotated[float, Field(ge=-MAX_POINT, le=MAX_POINT)] | None


class EpochPoint(FrozenModel):
    """One epoch of a training, rounded; what is undefined is null."""

    epoch: Annotated[int, Field(ge=0)]
    train_loss: Point
    val_loss: Point
    score: Point
    """Validation score that chose the epoch."""


ShortText = Annotated[Plain, Field(max_length=500)]


class Card(FrozenModel):
    """Where a brick comes from; aggregate numbers only, nothing about a single patient."""

    images: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Images per label in each split that training saw (train and val)."""
    data: ShortText | None = None
    """Free text about the data's origin, by whoever trains."""
    licence: ShortText | None = None
    """Licence of the brick, by whoever trains."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Validation scores of the saved epoch."""
    made_with: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages and the number of threads that made it."""
    mended: dict[str, int] = Field(default_factory=dict)
    """Images by what reading them had to mend, or that they were left out."""
    epochs: Annotated[tuple[EpochPoint, ...], Field(max_length=MAX_CURVE)] = ()
    """The training in short, thinned evenly; empty where there was none."""

    _sparse = left_out(mended={}, epochs=[])


class StatedDocument(FrozenModel):
    """What the documents of brick and head files have in common: they state their digest."""

    format: Literal[1]
    digest: Any = None
    """Stated by every file; checked last, against the content, by `digest_problems`."""
    task: Task
    settings: dict[str, Scalar | list[Scalar]]
    card: Card
    calibration: Annotated[Calibration | None, AfterValidator(_not_null)] = None
    """Left out, and not null, where there is none."""

    def spelled(self, *without: str) -> bytes:
        """The document in its one spelling; what it leaves out, and `without`, stays out.

        Raises:
            BrickError: settings or card hold what JSON cannot say, for example a NaN score.
        """
        left_out = type(self).model_fields.keys() - self.model_fields_set
        try:
            return super().spelled(*without, *left_out)
        except ValueError as error:
            raise BrickError(
                f"brick {self.task.name!r}: settings and card: expected plain values, "
                f"got another ({error}); leave it out"
            ) from error

    def calibration_problems(self) -> list[str]:
        """What keeps the calibration, if there is one, from being one of the task."""
        if self.calibration is None:
            return []
        return [f"calibration.{p}" for p in calibration_problems(self.calibration, self.task)]

    def digest_problems(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Whether the digest is that of the document and the tensors beside it."""
        digest = content_digest(self.spelled("digest"), tensors)
        if self.digest == digest:
            return []
        stated = "none" if self.digest is None else f"{self.digest!r:.80}"
        return [
            f"digest: expected {digest}, which its content has, got {stated}; "
            "the file was altered or damaged, fetch it again"
        ]


class BrickDocument(StatedDocument):
    """A brick file's."""

    base: BaseRef
    targets: Annotated[tuple[TargetEntry, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    grams: Annotated[dict[str, GramEntry], Field(min_length=1)] = Field(default_factory=dict)
    """By module; left out, and not empty, where a brick has none."""
    profile: Annotated[ProfileEntry | None, AfterValidator(_not_null)] = None

    def problems(self) -> list[str]:
        """What does not fit together in it."""
        return [
            *_target_problems(self),
            *_gram_problems(self),
            *_profile_problems(self),
            *self.calibration_problems(),
        ]


class HeadDocument(StatedDocument):
    """A head file's."""

    model: Digest
    features: int


def _gram_problems(document: BrickDocument) -> list[str]:
    if not document.grams:
        return []
    widths: dict[str, set[int]] = {}
    for entry in document.targets:
        widths.setdefault(entry.module, set()).add(entry.in_features)
    problems = [f"grams: {m}: missing" for m in sorted(widths.keys() - document.grams.keys())]
    for module, gram in document.grams.items():
        own = widths.get(module, set())
        if not own:
            problems.append(f"grams: {shown(module)}: expected the module of a target")
        elif len(own) > 1:
            problems.append(f"grams: {module}: expected targets of one width, got {sorted(own)}")
        elif gram.directions > min(own):
            problems.append(
                f"grams: {module}: expected at most {min(own)} directions, got {gram.directions}"
            )
    return problems


def _profile_problems(document: BrickDocument) -> list[str]:
    width = 2 * document.base.features
    if document.profile is None or document.profile.directions < width:
        return []
    return [
        f"profile.directions: expected fewer than {width} features, "
        f"got {document.profile.directions}"
    ]


def _target_problems(document: BrickDocument) -> list[str]:
    problems = []
    names: set[str] = set()
    for entry in document.targets:
        start, stop = entry.rows
        if entry.name in names:
            problems.append(f"targets: expected each name once, got {entry.name} twice")
        names.add(entry.name)
        if stop <= start:
            problems.append(f"targets: {entry.name}: expected rows [start, stop), got {entry.rows}")
        elif entry.rank > min(stop - start, entry.in_features):
            problems.append(
                f"targets: {entry.name}: expected rank at most "
                f"{min(stop - start, entry.in_features)}, got {entry.rank}"
            )
    ordered = sorted(document.targets, key=lambda entry: (entry.module, entry.rows))
    problems += [
        f"targets: expected disjoint rows, {before.name} and {after.name} overlap"
        for before, after in pairwise(ordered)
        if before.module == after.module and after.rows[0] < before.rows[1]
    ]
    if min(document.base.std) <= 0:
        problems.append(f"base.std: expected values above 0, got {document.base.std}")
    return problems
