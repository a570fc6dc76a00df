"""A generalist on disk: recipe, lineage, bricks and merged deltas; never the base's weights."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from medlego.base import Digest
from medlego.brick import Brick, all_targets
from medlego.brickfile import load_brick, save_brick
from medlego.compatibility import conflicts
from medlego.errors import GeneralistError, raise_all
from medlego.files import write_atomically
from medlego.lowrank import LowRank, canonical_problems
from medlego.recipe import Ingredient, Recipe, Step
from medlego.targets import Target

DOCUMENT = "generalist.json"
MERGED = "merged.safetensors"
BRICKS = "bricks"


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
    deltas: Mapping[str, LowRank],
) -> None:
    """Write a generalist to a new directory, whole or not at all.

    Raises:
        GeneralistError: something else lies there already.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise GeneralistError(f"{path}: expected a new directory, found one; choose another")
    tensors = {
        f"delta.{name}.{part}": getattr(delta, part).contiguous()
        for name, delta in deltas.items()
        for part in ("U", "S", "Vh")
    }
    merged = save(tensors)
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
        write_atomically(scratch / MERGED, merged)
        write_atomically(scratch / DOCUMENT, (text + "\n").encode())
        scratch.chmod(0o755)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def read_directory(path: Path) -> tuple[Document, tuple[Brick, ...], dict[str, LowRank]]:
    """Read and validate a generalist's document, bricks and merged deltas.

    Raises:
        GeneralistError: files are missing, damaged, or do not belong together.
        BrickError: one of its bricks is damaged.
    """
    document = _read_document(path)
    bricks = tuple(_read_brick(path, item) for item in document.recipe.bricks)
    raise_all(GeneralistError, str(path), conflicts(bricks))
    return document, bricks, _read_merged(path, document.merged_sha256, all_targets(bricks))


def _read_document(path: Path) -> Document:
    file = path / DOCUMENT
    try:
        return Document.model_validate(json.loads(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        raise GeneralistError(
            f"{path}: expected a generalist's directory, found no {DOCUMENT}; "
            "make one with medlego assemble"
        ) from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise_all(GeneralistError, str(file), problems)
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise GeneralistError(f"{file}: expected a JSON document ({error})") from error


def _read_brick(path: Path, item: Ingredient) -> Brick:
    file = path / BRICKS / f"{item.digest}.brick.safetensors"
    brick = load_brick(file)
    if brick.digest != item.digest or brick.task.name != item.task:
        raise GeneralistError(
            f"{file}: expected brick {item.digest[:12]}… of task {item.task!r}, got "
            f"{brick.digest[:12]}… of {brick.task.name!r}; the directory was changed"
        )
    return brick


def _read_merged(path: Path, digest: str, targets: Sequence[Target]) -> dict[str, LowRank]:
    file = path / MERGED
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise GeneralistError(
                f"{file}: expected SHA-256 {digest[:12]}…, got another; assemble again"
            )
        tensors: dict[str, Any] = load(content)
        deltas = {
            t.name: LowRank(*(tensors[f"delta.{t.name}.{part}"] for part in ("U", "S", "Vh")))
            for t in targets
        }
    except (OSError, SafetensorError, KeyError) as error:
        raise GeneralistError(f"{file}: expected the merged deltas ({error})") from error
    problems = [f"{n}.{p}" for n, delta in deltas.items() for p in canonical_problems(delta)]
    raise_all(GeneralistError, str(file), problems)
    problems = [
        f"{t.name}: expected shape {t.shape}, got {deltas[t.name].shape}"
        for t in targets
        if deltas[t.name].shape != t.shape
    ]
    raise_all(GeneralistError, str(file), problems)
    return deltas
