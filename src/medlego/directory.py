"""A generalist on disk: recipe, lineage, bricks and merged deltas; never the base's weights.

docs/FORMAT.md specifies it. Reading trusts no file more than `brickfile` does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from medlego.base import Digest
from medlego.brick import Brick, all_targets
from medlego.brickfile import load_brick, save_brick
from medlego.compatibility import conflicts, head_conflicts
from medlego.errors import GeneralistError, MergeError, raise_all
from medlego.files import read_bounded, write_atomically
from medlego.lowrank import LowRank, canonical_problems
from medlego.merge import find_method
from medlego.recipe import Ingredient, Recipe, Step
from medlego.refithead import RefitHead, load_head, save_head
from medlego.sites import capabilities
from medlego.strictjson import check_format, field_problems, parse_object, shown, text_problems
from medlego.targets import Target
from medlego.tensorfile import entry_problems, read_header, read_tensors

MAX_DOCUMENT_BYTES = 8 << 20
MAX_MERGED_BYTES = 1 << 30
PARTS = ("U", "S", "Vh")

DOCUMENT = "generalist.json"
MERGED = "merged.safetensors"
BRICKS = "bricks"
HEADS = "heads"


class Document(BaseModel):
    """`generalist.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    recipe: Recipe
    lineage: Annotated[tuple[Step, ...], Field(min_length=1)]
    relative_loss: Annotated[float, Field(ge=0, le=1)]
    merged_sha256: Digest


def write_directory(
    path: Path,
    recipe: Recipe,
    lineage: tuple[Step, ...],
    relative_loss: float,
    bricks: Sequence[Brick],
    heads: Mapping[str, RefitHead],
    deltas: Mapping[str, LowRank],
) -> None:
    """Write a generalist to a new directory, whole or not at all.

    Raises:
        GeneralistError: something else lies there already, or the deltas are too large.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise GeneralistError(f"{path}: expected a new directory, found one; choose another")
    tensors = {
        f"delta.{name}.{part}": getattr(delta, part).contiguous()
        for name, delta in deltas.items()
        for part in PARTS
    }
    merged = save(tensors)
    if len(merged) > MAX_MERGED_BYTES:
        raise GeneralistError(
            f"{path}: expected merged deltas of at most {MAX_MERGED_BYTES:,} bytes, "
            f"got {len(merged):,}; assemble with a rank"
        )
    document = Document(
        format=1,
        recipe=recipe,
        lineage=lineage,
        relative_loss=relative_loss,
        merged_sha256=hashlib.sha256(merged).hexdigest(),
    )
    text = json.dumps(document.model_dump(mode="json"), indent=2, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        (scratch / BRICKS).mkdir()
        for brick in bricks:
            save_brick(brick, scratch / BRICKS / f"{brick.digest}.brick.safetensors")
        if heads:
            (scratch / HEADS).mkdir()
        for head in heads.values():
            save_head(head, scratch / HEADS / f"{head.digest}.head.safetensors")
        write_atomically(scratch / MERGED, merged)
        write_atomically(scratch / DOCUMENT, (text + "\n").encode())
        scratch.chmod(0o755)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def read_directory(
    path: Path,
) -> tuple[Document, tuple[Brick, ...], dict[str, RefitHead], dict[str, LowRank]]:
    """Read and validate a generalist's document, bricks, refitted heads and merged deltas.

    Raises:
        GeneralistError: files are missing, damaged, or do not belong together.
        BrickError: one of its bricks is damaged.
    """
    document = _read_document(path)
    bricks = tuple(_read_brick(path, item) for item in document.recipe.bricks)
    raise_all(GeneralistError, str(path), conflicts(bricks))
    try:
        held = capabilities(bricks, document.recipe.sites)
    except MergeError as error:
        raise GeneralistError(f"{path}: recipe.{error}") from error
    heads = {item.task: _read_head(path, item) for item in document.recipe.bricks if item.head}
    problems = [p for h in heads.values() for p in head_conflicts(document.recipe, held, h)]
    raise_all(GeneralistError, str(path), problems)
    return document, bricks, heads, _read_merged(path, document.merged_sha256, all_targets(bricks))


def _read_document(path: Path) -> Document:
    file = path / DOCUMENT
    try:
        text = read_bounded(file, MAX_DOCUMENT_BYTES)
        raw = parse_object(text)
        check_format(raw, 1)
        document = Document.model_validate_json(text, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise GeneralistError(
            f"{path}: expected a generalist's directory, found no {DOCUMENT}; "
            "make one with medlego assemble"
        ) from None
    except ValidationError as error:
        raise_all(GeneralistError, str(file), field_problems(error))
        raise
    except OSError as error:
        raise GeneralistError(f"{file}: expected a readable file ({error.strerror})") from error
    except ValueError as error:
        raise GeneralistError(f"{file}: {error}") from error
    raise_all(GeneralistError, str(file), text_problems(raw) + _recipe_problems(document))
    return document


def _recipe_problems(document: Document) -> list[str]:
    problems = []
    try:
        find_method(document.recipe.method).check_settings(document.recipe.settings)
    except MergeError as error:
        problems.append(f"recipe.{error}")
    heads: dict[str, str | None] = {}
    for item in document.recipe.bricks:
        if heads.setdefault(item.task, item.head) != item.head:
            problems.append(
                f"recipe.bricks: expected one head for all sites of {item.task!r}, got several; "
                "the directory was changed"
            )
    stated, digest = document.lineage[-1].recipe, document.recipe.digest
    if stated != digest:
        problems.append(
            f"lineage: expected the recipe's digest {digest[:12]}… in the last step, "
            f"got {stated[:12]}…; assemble again"
        )
    return problems


def _read_brick(path: Path, item: Ingredient) -> Brick:
    file = path / BRICKS / f"{item.digest}.brick.safetensors"
    brick = load_brick(file)
    if brick.digest != item.digest or brick.task.name != item.task:
        raise GeneralistError(
            f"{file}: expected brick {item.digest[:12]}… of task {item.task!r}, got "
            f"{brick.digest[:12]}… of {brick.task.name!r}; the directory was changed"
        )
    return brick


def _read_head(path: Path, item: Ingredient) -> RefitHead:
    file = path / HEADS / f"{item.head}.head.safetensors"
    refit = load_head(file)
    if (refit.digest, refit.task.name) != (item.head, item.task):
        raise GeneralistError(
            f"{file}: expected the refitted head of {item.task!r}, got {refit.digest[:12]}… of "
            f"{refit.task.name!r}; the directory was changed"
        )
    return refit


def _read_merged(path: Path, digest: str, targets: Sequence[Target]) -> dict[str, LowRank]:
    file = path / MERGED
    try:
        content = read_bounded(file, MAX_MERGED_BYTES)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise ValueError(f"expected SHA-256 {digest[:12]}…, got {found[:12]}…; assemble again")
        header = read_header(content)
        raise_all(GeneralistError, str(file), entry_problems(header))
        if "__metadata__" in header:
            raise ValueError("expected no __metadata__")
        tensors = read_tensors(content)
    except OSError as error:
        raise GeneralistError(f"{file}: expected the merged deltas ({error.strerror})") from error
    except ValueError as error:
        raise GeneralistError(f"{file}: {error}") from error
    raise_all(GeneralistError, str(file), _name_problems(tensors, targets))
    deltas = {
        t.name: LowRank(*(tensors[f"delta.{t.name}.{part}"] for part in PARTS)) for t in targets
    }
    raise_all(GeneralistError, str(file), _delta_problems(deltas, targets))
    return deltas


def _name_problems(tensors: Mapping[str, Tensor], targets: Sequence[Target]) -> list[str]:
    expected = {f"delta.{t.name}.{part}" for t in targets for part in PARTS}
    problems = [f"{key}: missing" for key in sorted(expected - tensors.keys())]
    extra = sorted(tensors.keys() - expected)
    return problems + [f"{shown(key)}: expected no such tensor" for key in extra]


def _delta_problems(deltas: Mapping[str, LowRank], targets: Sequence[Target]) -> list[str]:
    problems = []
    for target in targets:
        delta, (out, columns) = deltas[target.name], target.shape
        U, S, Vh = (tuple(getattr(delta, part).shape) for part in PARTS)
        rank = min(*S[:1], out, columns)
        if (U, S, Vh) != ((out, rank), (rank,), (rank, columns)):
            problems.append(
                f"{target.name}: expected shape {target.shape} at a rank of at most "
                f"{min(out, columns)}, got {U}, {S} and {Vh}"
            )
        else:
            problems += [f"{target.name}.{problem}" for problem in canonical_problems(delta)]
    return problems
