"""One safetensors file per brick: written atomically, fully validated on reading.

docs/FORMAT.md specifies it. Reading never trusts the file: sizes are bounded before anything
is allocated, every tensor is checked against the document, and all problems come in one error.
A file states the digest of its content, so that one altered bit is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medlego.base import BaseRef
from medlego.bricks.brick import Brick, head_group
from medlego.bricks.content import TensorGroup, read_groups
from medlego.bricks.document import BrickDocument, Card, StatedDocument
from medlego.bricks.gram import gram_group
from medlego.bricks.lowrank import delta_group
from medlego.bricks.profile import profile_group
from medlego.data import Task
from medlego.errors import BrickError, collect, raise_all
from medlego.support import (
    MAX_HEADER_BYTES,
    Progress,
    SafetensorsFile,
    ShortRepr,
    refuse,
    safetensors_bytes,
    silent,
    write_atomically,
)

MAX_FILE_BYTES = 1 << 30
_KEY = "medlego"

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
    document = read_stated(BrickDocument, file, _KEY)
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
    bricks, problems = [], list[str]()
    for number, path in enumerate(paths):
        show("reading bricks", number, len(paths))
        with collect(problems, BrickError):
            bricks.append(load_brick(path))
    if len(problems) == 1:
        raise BrickError(problems[0])
    raise_all(BrickError, "bricks", problems)
    return bricks


BrickLike = Brick | str | Path
"""A brick, a brick file, or a folder of brick files."""


def open_bricks(bricks: BrickLike | Iterable[BrickLike]) -> list[Brick]:
    """Bricks as they are, or read from files; those of a folder by name.

    Raises:
        BrickError: something else, a folder without brick files, or as `load_bricks`.
    """
    several = [bricks] if isinstance(bricks, Brick | str | Path) else bricks
    listed: list[Brick | Path] = []
    for item in several if isinstance(several, Iterable) else [several]:
        if isinstance(item, str | Path):
            listed += _brick_files(Path(item))
        elif isinstance(item, Brick):
            listed.append(item)
        else:
            raise BrickError(
                f"bricks: expected bricks, brick files or a folder of them, got "
                f"{type(item).__name__}"
            )
    read = iter(load_bricks([item for item in listed if isinstance(item, Path)]))
    return [next(read) if isinstance(item, Path) else item for item in listed]


def _brick_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.glob("*.safetensors") if not p.name.startswith("."))
    if not files:
        raise BrickError(f"{path}: expected brick files (.safetensors), found none")
    return files


def brick_bytes(brick: Brick) -> bytes:
    """The file's content, with its digest.

    Raises:
        BrickError: the brick breaks the format's rules.
    """
    document = brick.document.model_copy(update={"digest": brick.digest})
    content = safetensors_bytes(brick.tensors(), _KEY, document.spelled())
    brick_from_bytes(content, f"brick {brick.task.name!r}")
    return content


def brick_from_bytes(content: bytes, name: str) -> Brick:
    """Validate a file's content; `name` stands in front of every message."""
    return _read(SafetensorsFile(content, name, BrickError))


def _read(file: SafetensorsFile) -> Brick:
    document = read_stated(BrickDocument, file, _KEY)
    tensors = file.tensors()
    values, problems = read_groups(tensors, _groups(document))
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


def _groups(document: BrickDocument) -> dict[str, TensorGroup]:
    """The tensors that the file must hold."""
    groups = {"head": head_group(document.task, document.base.features)}
    for entry in document.targets:
        groups[f"delta.{entry.name}"] = delta_group(entry.target.shape, entry.rank)
        if (gram := document.grams.get(entry.module)) is not None:
            group = gram_group(entry.in_features, gram.directions, gram.images)
            groups[f"gram.{entry.module}"] = group
    if document.profile is not None:
        groups["profile"] = profile_group(2 * document.base.features, document.profile)
    return groups
