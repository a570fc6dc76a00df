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
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from medlego.base import BaseRef, Target
from medlego.bricks.brick import (
    FORMAT_VERSION,
    Brick,
    Card,
    Head,
    brick_tensors,
    content_digest,
    document_bytes,
    head_problems,
)
from medlego.bricks.gram import MAX_GRAM_DIRECTIONS, MIN_GRAM_IMAGES, Gram, gram_problems
from medlego.bricks.lowrank import LowRank, canonical_problems
from medlego.bricks.profile import (
    MAX_PROFILE_DIRECTIONS,
    MIN_PROFILE_IMAGES,
    PARTS,
    Noise,
    Profile,
    profile_problems,
    profile_shapes,
)
from medlego.data import Task
from medlego.errors import BrickError, raise_all
from medlego.metrics import Calibration, calibration_problems
from medlego.support import (
    MAX_HEADER_BYTES,
    FrozenModel,
    Progress,
    ShortRepr,
    check_format,
    entry_problems,
    field_problems,
    parse_object,
    read_expected,
    read_header,
    read_tensors,
    shown,
    silent,
    spell,
    tensor_problems,
    text_problems,
    write_atomically,
)

MAX_FILE_BYTES = 1 << 30
MAX_TARGETS = 4096
MAX_RANK = 1024
MAX_WIDTH = 1 << 17
MAX_BLOCKS = 1024
MAX_PROBLEMS = 20
"""Problems of one file that an error names; it counts the rest."""

_KEY = "medlego"
_OPTIONAL = {"calibration", "digest", "grams", "profile"}
_PATH = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"
_Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Scalar = str | int | float | bool | None


class _TargetEntry(FrozenModel):
    name: Annotated[str, Field(pattern=_PATH, max_length=200)]
    module: Annotated[str, Field(pattern=_PATH, max_length=200)]
    rows: tuple[Annotated[int, Field(ge=0, le=MAX_WIDTH)], _Width]
    in_features: _Width
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)]


class _GramEntry(FrozenModel):
    directions: Annotated[int, Field(ge=1, le=MAX_GRAM_DIRECTIONS)]
    images: Annotated[int, Field(ge=MIN_GRAM_IMAGES)]


class _ProfileEntry(FrozenModel):
    blocks: Annotated[int, Field(ge=0, le=MAX_BLOCKS)]
    directions: Annotated[int, Field(ge=1, le=MAX_PROFILE_DIRECTIONS)]
    images: Annotated[int, Field(ge=MIN_PROFILE_IMAGES)]
    noise: Noise | None


def given(entry: Any) -> Any:
    """What may be left out, but not null."""
    if entry is None:
        raise ValueError("expected an object, got null; leave the key out")
    return entry


class _Document(FrozenModel):
    format: Literal[1]
    digest: Any = None
    """Stated by every file; checked last, against the content, by `_check_digest`."""
    base: BaseRef
    task: Task
    targets: Annotated[tuple[_TargetEntry, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    settings: dict[str, Scalar | list[Scalar]]
    card: Card
    grams: Annotated[dict[str, _GramEntry], Field(min_length=1)] = Field(default_factory=dict)
    """By module; left out, and not empty, where a brick has none."""
    profile: Annotated[_ProfileEntry | None, AfterValidator(given)] = None
    """Left out, and not null, where a brick has none; so is the calibration."""
    calibration: Annotated[Calibration | None, AfterValidator(given)] = None

    def spelled(self, *without: str) -> bytes:
        """The document in its one spelling, without some of the fields that may be left out."""
        missing = _OPTIONAL - self.model_fields_set
        return spell(self.model_dump(mode="json", exclude=missing | set(without)))


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
    content = read_expected(Path(path), MAX_FILE_BYTES, BrickError, "a brick file")
    return brick_from_bytes(content, str(path))


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
            document = _document_of(start + stream.read(length), str(path))[0]
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise BrickError(f"{path}: expected a readable brick file ({error.strerror})") from error
    stated = document.digest
    if not (isinstance(stated, str) and len(stated) == 64):
        raise BrickError(f"{path}: digest: expected 64 hexadecimal digits, got {stated!r:.80}")
    return Label(stated, document.base, document.task, document.card, document.settings, size)


def load_bricks(paths: Sequence[str | Path], show: Progress = silent) -> list[Brick]:
    """Read several bricks; what is wrong with any of them comes in one error.

    Args:
        paths: brick files.
        show: told how many files are read.

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
    name, document = f"brick {brick.task.name!r}", document_bytes(brick)
    tensors = {k: v.detach().cpu().contiguous() for k, v in brick_tensors(brick).items()}
    _refuse(name, _check(_parse(document, name), tensors))
    stated = document_bytes(brick, digest=content_digest(document, tensors))
    return save(tensors, metadata={_KEY: stated.decode()})


def brick_from_bytes(content: bytes, name: str) -> Brick:
    """Validate a file's content; `name` stands in front of every message."""
    document, header = _document_of(content, name)
    _refuse(name, entry_problems(header))
    try:
        tensors = read_tensors(content)
    except ValueError as error:
        raise BrickError(f"{name}: tensors: {error}") from error
    _refuse(name, _check(document, tensors))
    _refuse(name, _check_digest(document, tensors))
    deltas = {
        entry.name: LowRank(*(tensors[f"delta.{entry.name}.{part}"] for part in ("U", "S", "Vh")))
        for entry in document.targets
    }
    targets = tuple(Target(e.name, e.module, *e.rows, e.in_features) for e in document.targets)
    head = Head(tensors["head.weight"], tensors["head.bias"])
    return Brick(
        document.base,
        document.task,
        targets,
        deltas,
        head,
        document.settings,
        document.card,
        {module: _gram(module, entry, tensors) for module, entry in document.grams.items()},
        None if document.profile is None else _profile(document.profile, tensors),
        document.calibration,
    )


def _document_of(content: bytes, name: str) -> tuple[_Document, dict[str, Any]]:
    """The document, and the header that it stands in."""
    try:
        header = read_header(content)
    except ValueError as error:
        raise BrickError(f"{name}: header: {error}") from error
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or set(metadata) != {_KEY}:
        raise BrickError(
            f"{name}: __metadata__: expected exactly the key {_KEY!r}; is this a medlego brick?"
        )
    return _parse(str(metadata[_KEY]).encode("utf-8", "surrogatepass"), name), header


def _gram(module: str, entry: _GramEntry, tensors: dict[str, Tensor]) -> Gram:
    vectors, values, rest = (tensors[key] for key in _gram_keys(module))
    return Gram(vectors, values, rest, entry.images)


def _gram_keys(module: str) -> tuple[str, str, str]:
    return f"gram.{module}.vectors", f"gram.{module}.values", f"gram.{module}.rest"


def _profile(entry: _ProfileEntry, tensors: dict[str, Tensor]) -> Profile:
    mean, scale, vectors, values, rest, distance = (tensors[f"profile.{part}"] for part in PARTS)
    correlation = Gram(vectors, values, rest, entry.images)
    return Profile(entry.blocks, mean, scale, correlation, distance, entry.noise)


def _parse(text: bytes, name: str) -> _Document:
    try:
        raw = parse_object(text)
    except ValueError as error:
        raise BrickError(f"{name}: {_KEY}: {error}") from error
    try:
        check_format(raw, FORMAT_VERSION)
    except ValueError as error:
        raise BrickError(f"{name}: {error}") from error
    try:
        document = _Document.model_validate_json(text, strict=True)
    except ValidationError as error:
        _refuse(name, field_problems(error))
        raise
    if document.spelled() != text:
        raise BrickError(
            f"{name}: {_KEY}: expected every field in the one spelling of docs/FORMAT.md, "
            "got another; write it again with medlego"
        )
    _refuse(name, text_problems(raw))
    return document


def _refuse(name: str, problems: list[str]) -> None:
    more = len(problems) - MAX_PROBLEMS
    shown = [*problems[:MAX_PROBLEMS], f"and {more} more"] if more > 0 else problems
    raise_all(BrickError, name, shown)


def _check(document: _Document, tensors: dict[str, Tensor]) -> list[str]:
    shapes = _expected_shapes(document)
    problems = _check_targets(document) + _check_grams(document) + _check_profile(document)
    if document.calibration is not None:
        found = calibration_problems(document.calibration, document.task)
        problems += [f"calibration.{p}" for p in found]
    found, sound = tensor_problems(tensors, shapes)
    problems += found
    for entry in document.targets:
        keys = [f"delta.{entry.name}.{part}" for part in ("U", "S", "Vh")]
        if sound.issuperset(keys):
            delta = LowRank(*(tensors[key] for key in keys))
            problems += [f"delta.{entry.name}.{p}" for p in canonical_problems(delta)]
    for module, gram in document.grams.items():
        if sound.issuperset(_gram_keys(module)):
            found = gram_problems(_gram(module, gram, tensors))
            problems += [f"gram.{module}.{p}" for p in found]
    if document.profile is not None and sound.issuperset(f"profile.{part}" for part in PARTS):
        found = profile_problems(_profile(document.profile, tensors))
        problems += [f"profile.{p}" for p in found]
    return problems + head_problems({key: tensors[key] for key in sound}, document.task)


def _check_digest(document: _Document, tensors: dict[str, Tensor]) -> list[str]:
    found = content_digest(document.spelled("digest"), tensors)
    if document.digest == found:
        return []
    stated = "none" if document.digest is None else f"{document.digest!r:.80}"
    return [
        f"digest: expected {found}, which its content has, got {stated}; "
        "the file was altered or damaged, fetch it again"
    ]


def _expected_shapes(document: _Document) -> dict[str, tuple[int, ...]]:
    rows, outputs = document.task.head_shape
    shapes: dict[str, tuple[int, ...]] = {
        "head.weight": (rows, document.base.features),
        "head.bias": (outputs,),
    }
    for entry in document.targets:
        out = entry.rows[1] - entry.rows[0]
        shapes[f"delta.{entry.name}.U"] = (out, entry.rank)
        shapes[f"delta.{entry.name}.S"] = (entry.rank,)
        shapes[f"delta.{entry.name}.Vh"] = (entry.rank, entry.in_features)
        if (gram := document.grams.get(entry.module)) is not None:
            sizes = ((entry.in_features, gram.directions), (gram.directions,), (1,))
            shapes.update(zip(_gram_keys(entry.module), sizes, strict=True))
    if document.profile is not None:
        named = profile_shapes(2 * document.base.features, document.profile.directions)
        shapes |= {f"profile.{part}": shape for part, shape in named.items()}
    return shapes


def _check_grams(document: _Document) -> list[str]:
    if not document.grams:
        return []
    widths: dict[str, set[int]] = {}
    for entry in document.targets:
        widths.setdefault(entry.module, set()).add(entry.in_features)
    problems = [f"grams: {m}: missing" for m in sorted(widths.keys() - document.grams.keys())]
    for module, gram in document.grams.items():
        found = widths.get(module, set())
        if not found:
            problems.append(f"grams: {shown(module)}: expected the module of a target")
        elif len(found) > 1:
            problems.append(f"grams: {module}: expected targets of one width, got {sorted(found)}")
        elif gram.directions > min(found):
            problems.append(
                f"grams: {module}: expected at most {min(found)} directions, got {gram.directions}"
            )
    return problems


def _check_profile(document: _Document) -> list[str]:
    width = 2 * document.base.features
    if document.profile is None or document.profile.directions < width:
        return []
    return [
        f"profile.directions: expected fewer than {width} features, "
        f"got {document.profile.directions}"
    ]


def _check_targets(document: _Document) -> list[str]:
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
