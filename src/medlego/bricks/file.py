"""One safetensors file per brick: written atomically, fully validated on reading.

docs/FORMAT.md specifies it. Reading never trusts the file: sizes are bounded before anything
is allocated, every tensor is checked against the document, and all problems come in one error.
A file states the digest of its content, so that one altered bit is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field
from torch import Tensor

from medlego.base import BaseRef, Target
from medlego.bricks.brick import Brick, Card, brick_tensors, document_bytes, head_group
from medlego.bricks.content import TensorGroup, content_digest, read_groups
from medlego.bricks.gram import MAX_GRAM_DIRECTIONS, MIN_GRAM_IMAGES, gram_group
from medlego.bricks.lowrank import delta_group
from medlego.bricks.profile import ProfileEntry, profile_group
from medlego.data import Task
from medlego.errors import BrickError, raise_all
from medlego.metrics import Calibration, calibration_problems
from medlego.support import (
    MAX_HEADER_BYTES,
    FrozenModel,
    Progress,
    SafetensorsFile,
    ShortRepr,
    refuse,
    safetensors_bytes,
    shown,
    silent,
    write_atomically,
)

MAX_FILE_BYTES = 1 << 30
MAX_TARGETS = 4096
MAX_RANK = 1024
MAX_WIDTH = 1 << 17

_KEY = "medlego"
_PATH = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"
_Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Scalar = str | int | float | bool | None


class _TargetEntry(FrozenModel):
    name: Annotated[str, Field(pattern=_PATH, max_length=200)]
    module: Annotated[str, Field(pattern=_PATH, max_length=200)]
    rows: tuple[Annotated[int, Field(ge=0, le=MAX_WIDTH)], _Width]
    in_features: _Width
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)]

    @property
    def target(self) -> Target:
        return Target(self.name, self.module, *self.rows, self.in_features)


class _GramEntry(FrozenModel):
    directions: Annotated[int, Field(ge=1, le=MAX_GRAM_DIRECTIONS)]
    images: Annotated[int, Field(ge=MIN_GRAM_IMAGES)]


def _not_null(entry: Any) -> Any:
    """What may be left out, but not null."""
    if entry is None:
        raise ValueError("expected an object, got null; leave the key out")
    return entry


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
        """The document in its one spelling; what it leaves out, and `without`, stays out."""
        left_out = type(self).model_fields.keys() - self.model_fields_set
        return super().spelled(*without, *left_out)

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


_Stated = TypeVar("_Stated", bound=StatedDocument)


def read_stated(model: type[_Stated], file: SafetensorsFile, key: str) -> _Stated:
    """A file's document, which must stand there in its one spelling.

    Raises:
        MedLegoError: of the file's class.
    """
    document = file.document(model, key)
    if document.spelled() != file.text(key):
        raise file.error(
            f"{file.name}: {key}: expected every field in the one spelling of docs/FORMAT.md, "
            "got another; write it again with medlego"
        )
    return document


class _Document(StatedDocument):
    base: BaseRef
    targets: Annotated[tuple[_TargetEntry, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    grams: Annotated[dict[str, _GramEntry], Field(min_length=1)] = Field(default_factory=dict)
    """By module; left out, and not empty, where a brick has none."""
    profile: Annotated[ProfileEntry | None, AfterValidator(_not_null)] = None

    @property
    def groups(self) -> dict[str, TensorGroup]:
        """The tensors that the file must hold."""
        groups = {"head": head_group(self.task, self.base.features)}
        for entry in self.targets:
            groups[f"delta.{entry.name}"] = delta_group(entry.target.shape, entry.rank)
            if (gram := self.grams.get(entry.module)) is not None:
                group = gram_group(entry.in_features, gram.directions, gram.images)
                groups[f"gram.{entry.module}"] = group
        if self.profile is not None:
            groups["profile"] = profile_group(2 * self.base.features, self.profile)
        return groups

    def problems(self) -> list[str]:
        """What does not fit together in it."""
        return [
            *_target_problems(self),
            *_gram_problems(self),
            *_profile_problems(self),
            *self.calibration_problems(),
        ]


def save_brick(brick: Brick, path: str | Path) -> None:
    """Write a brick to one file, atomically; the same brick gives the same bytes.

    Raises:
        BrickError: the brick breaks the format's rules (nothing is written).
        OSError: the place is not writable; an older file there stays whole.
    """
    write_atomically(Path(path), brick_bytes(brick))


def load_brick(path: str | Path) -> Brick:
    """Read and fully validate one brick.

    Raises:
        BrickError: anything in the file that breaks docs/FORMAT.md, all problems together.
    """
    return _read(SafetensorsFile.read(path, MAX_FILE_BYTES, BrickError, "a brick file"))


@dataclass(frozen=True, repr=False)
class Label(ShortRepr):
    """What a brick file says of itself; nothing of it was checked against its numbers."""

    digest: str
    base: BaseRef
    task: Task
    card: Card
    settings: Mapping[str, Any]
    bytes: int


def read_label(path: str | Path) -> Label:
    """Read a brick file's document alone, for lists; `load_brick` is what checks a brick.

    Raises:
        BrickError: no file there, or no document of a brick.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            length = min(int.from_bytes(start, "little"), MAX_HEADER_BYTES)
            file = SafetensorsFile(start + stream.read(length), str(path), BrickError)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise BrickError(f"{path}: expected a readable brick file ({error.strerror})") from error
    document = read_stated(_Document, file, _KEY)
    stated = document.digest
    if not (isinstance(stated, str) and len(stated) == 64):
        raise BrickError(f"{path}: digest: expected 64 hexadecimal digits, got {stated!r:.80}")
    return Label(stated, document.base, document.task, document.card, document.settings, size)


def load_bricks(paths: Sequence[str | Path], show: Progress = silent) -> list[Brick]:
    """Read several bricks; what is wrong with any of them comes in one error.

    Args:
        paths: brick files.
        show: called with how many files are read.

    Raises:
        BrickError: any file that `load_brick` refuses.
    """
    bricks, problems = [], []
    for number, path in enumerate(paths):
        show("reading bricks", number, len(paths))
        try:
            bricks.append(load_brick(path))
        except BrickError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise BrickError(problems[0])
    raise_all(BrickError, "bricks", problems)
    return bricks


def brick_bytes(brick: Brick) -> bytes:
    """The file's content, with its digest.

    Raises:
        BrickError: the brick breaks the format's rules.
    """
    tensors = brick_tensors(brick)
    digest = content_digest(document_bytes(brick), tensors)
    content = safetensors_bytes(tensors, _KEY, document_bytes(brick, digest=digest))
    brick_from_bytes(content, f"brick {brick.task.name!r}")
    return content


def brick_from_bytes(content: bytes, name: str) -> Brick:
    """Validate a file's content; `name` stands in front of every message."""
    return _read(SafetensorsFile(content, name, BrickError))


def _read(file: SafetensorsFile) -> Brick:
    document = read_stated(_Document, file, _KEY)
    tensors = file.tensors()
    values, problems = read_groups(tensors, document.groups)
    refuse(BrickError, file.name, document.problems() + problems)
    refuse(BrickError, file.name, document.digest_problems(tensors))
    return Brick(
        base=document.base,
        task=document.task,
        targets=tuple(entry.target for entry in document.targets),
        deltas={entry.name: values[f"delta.{entry.name}"] for entry in document.targets},
        head=values["head"],
        settings=document.settings,
        card=document.card,
        grams={module: values[f"gram.{module}"] for module in document.grams},
        profile=values.get("profile"),
        calibration=document.calibration,
    )


def _gram_problems(document: _Document) -> list[str]:
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


def _profile_problems(document: _Document) -> list[str]:
    width = 2 * document.base.features
    if document.profile is None or document.profile.directions < width:
        return []
    return [
        f"profile.directions: expected fewer than {width} features, "
        f"got {document.profile.directions}"
    ]


def _target_problems(document: _Document) -> list[str]:
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
