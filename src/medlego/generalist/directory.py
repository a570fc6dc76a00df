"""A generalist on disk: recipe, lineage, bricks and merged deltas; never the base's weights.

docs/FORMAT.md specifies it. Reading trusts no file more than `brickfile` does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import Field

from medlego.base import Digest
from medlego.bricks import (
    SIGNATURE_SUFFIX,
    Brick,
    LowRank,
    RefitHead,
    all_targets,
    brick_bytes,
    head_bytes,
    load_brick,
    load_head,
    load_signature,
    save_signature,
)
from medlego.data import Plain
from medlego.errors import GeneralistError, MedLegoError, MergeError, raise_all
from medlego.generalist.lineage import Entry, Lineage, chain_problems, withdrawn
from medlego.generalist.merged_file import made_on, merged_bytes, read_merged
from medlego.generalist.past_states import PastStates, Shelf
from medlego.merge import Ingredient, Recipe, capabilities, conflicts, find_method, head_conflicts
from medlego.support import (
    FrozenModel,
    read_document,
    read_expected,
    refuse,
    spell,
    write_atomically,
)

MAX_DOCUMENT_BYTES = 8 << 20
LOCK_TIMEOUT_S = 60

DOCUMENT = "generalist.json"
MERGED, MERGED_SUFFIX = "merged", ".safetensors"
BRICKS, BRICK_SUFFIX = "bricks", ".brick.safetensors"
HEADS, HEAD_SUFFIX = "heads", ".head.safetensors"
RECIPES, RECIPE_SUFFIX = "recipes", ".json"
SIGNATURES = "signatures"

_T = TypeVar("_T")


class Document(FrozenModel):
    """`generalist.json`."""

    format: Literal[1]
    recipe: Recipe
    lineage: Annotated[tuple[Entry, ...], Field(min_length=1)]
    relative_loss: Annotated[float, Field(ge=0, le=1)]
    merged_sha256: Digest
    made_on: dict[str, Plain]
    """What may decide the merged deltas' last bits."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a directory holds; `past` has the present state's bricks and heads too."""

    recipe: Recipe
    lineage: Lineage
    relative_loss: float
    deltas: Mapping[str, LowRank]
    past: PastStates


def write_directory(path: Path, contents: Contents) -> None:
    """Write a generalist to a new directory, whole or not at all.

    Raises:
        GeneralistError: something else lies there already, or the deltas are too large.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise GeneralistError(f"{path}: expected a new directory, found one; choose another")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        _fill(scratch, contents)
        scratch.chmod(0o755)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def update_directory(path: Path, contents: Contents, last: str) -> None:
    """Put a generalist in the place of the one that lies there.

    New files come first and get names of their own, then the document is replaced at one stroke,
    then what nothing names any more goes. A kill at any moment leaves the one or the other.

    Args:
        path: an existing directory; hold it by `editing`.
        contents: the new state.
        last: digest of the last lineage entry that the directory must have.

    Raises:
        GeneralistError: another last entry, or the deltas are too large.
    """
    found = load_document(path).lineage[-1].digest
    if found != last:
        raise GeneralistError(
            f"{path}: expected entry {last[:12]}… to be the last, got {found[:12]}…; "
            "somebody edited it meanwhile, try again"
        )
    _fill(path, contents)
    sweep(path, contents.lineage, contents.past)


Mark = tuple[int, int, int]
"""What changes when an edit replaces a directory's document."""


def read_mark(directory: Path) -> Mark | None:
    """A directory's at the moment; None where there is no document."""
    try:
        found = (directory / DOCUMENT).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def editing(path: Path) -> Iterator[None]:
    """Hold a generalist's directory alone; the lock is free again when its holder dies.

    Raises:
        GeneralistError: no directory there, or somebody else is still at it after a minute.
    """
    _document_file(path)
    try:
        with FileLock(path / ".lock", timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise GeneralistError(
            f"{path}: expected to edit it alone, got another editor for {LOCK_TIMEOUT_S} s; "
            "try again when it is done"
        ) from None


def sweep(path: Path, lineage: Lineage, past: PastStates) -> list[str]:
    """Delete what an unfinished edit left: withdrawn bricks and heads, and merges of before.

    Returns:
        Names of the files that went, relative to the directory.
    """
    merged = load_document(path).merged_sha256
    gone = withdrawn(lineage)
    stray = [
        *(f for f in (path / MERGED).iterdir() if f.name != f"{merged}{MERGED_SUFFIX}"),
        *(f for f in (path / BRICKS).iterdir() if f.name.removesuffix(BRICK_SUFFIX) in gone),
    ]
    if (path / SIGNATURES).exists():
        files = (path / SIGNATURES).iterdir()
        stray += [f for f in files if f.name.removesuffix(SIGNATURE_SUFFIX) in gone]
    if (path / HEADS).exists():
        kept = {f"{digest}{HEAD_SUFFIX}" for digest in past.heads}
        stray += [f for f in (path / HEADS).iterdir() if f.name not in kept]
    for file in stray:
        file.unlink()
    return sorted(str(file.relative_to(path)) for file in stray)


def _fill(folder: Path, contents: Contents) -> None:
    """Write what is missing, the document last."""
    merged = merged_bytes(contents.deltas)
    document = Document(
        format=1,
        recipe=contents.recipe,
        lineage=contents.lineage,
        relative_loss=contents.relative_loss,
        merged_sha256=hashlib.sha256(merged).hexdigest(),
        made_on=made_on(),
    )
    past = contents.past
    _add(folder / BRICKS, BRICK_SUFFIX, past.bricks, brick_bytes)
    _add(folder / HEADS, HEAD_SUFFIX, past.heads, head_bytes)
    for digest, signature in past.signatures.items():
        (folder / SIGNATURES).mkdir(exist_ok=True)
        save_signature(signature, folder / SIGNATURES / f"{digest}{SIGNATURE_SUFFIX}")
    _add(folder / RECIPES, RECIPE_SUFFIX, past.recipes, _recipe_bytes)
    _add(folder / MERGED, MERGED_SUFFIX, {document.merged_sha256: merged}, bytes)
    text = json.dumps(document.model_dump(mode="json"), indent=2, sort_keys=True)
    if len(text) >= MAX_DOCUMENT_BYTES:
        raise GeneralistError(
            f"lineage: expected a document of at most {MAX_DOCUMENT_BYTES:,} bytes, got "
            f"{len(text):,}; assemble anew from its bricks"
        )
    write_atomically(folder / DOCUMENT, (text + "\n").encode())


def _add(
    folder: Path, suffix: str, things: Mapping[str, _T], spelled: Callable[[_T], bytes]
) -> None:
    """Write the files that are not there yet."""
    if things:
        folder.mkdir(exist_ok=True)
    for digest in things:
        if not (file := folder / f"{digest}{suffix}").exists():
            write_atomically(file, spelled(things[digest]))


def _recipe_bytes(recipe: Recipe) -> bytes:
    return spell(recipe.model_dump(mode="json"))


def read_directory(path: Path) -> tuple[Contents, tuple[Brick, ...], dict[str, RefitHead]]:
    """Read and validate a generalist: its contents, present bricks and refitted heads.

    What only earlier states need is read when they are asked for.

    Raises:
        GeneralistError: files are missing, damaged, or do not belong together.
        BrickError: one of its bricks is damaged.
    """
    while True:
        document = load_document(path)
        try:
            return _read_state(path, document)
        except MedLegoError:
            if load_document(path).lineage == document.lineage:
                raise
            # an editor was faster: its document is there, and its files


def _read_state(
    path: Path, document: Document
) -> tuple[Contents, tuple[Brick, ...], dict[str, RefitHead]]:
    bricks = tuple(_read_brick(path, item) for item in document.recipe.bricks)
    raise_all(GeneralistError, str(path), conflicts(bricks))
    try:
        held = capabilities(bricks, document.recipe.sites)
    except MergeError as error:
        raise GeneralistError(f"{path}: recipe.{error}") from error
    heads = {item.task: _read_head(path, item) for item in document.recipe.bricks if item.head}
    problems = [p for h in heads.values() for p in head_conflicts(document.recipe, held, h)]
    raise_all(GeneralistError, str(path), problems)
    file = path / MERGED / f"{document.merged_sha256}{MERGED_SUFFIX}"
    contents = Contents(
        document.recipe,
        document.lineage,
        document.relative_loss,
        read_merged(file, document.merged_sha256, all_targets(bricks)),
        _past_states(path).plus(document.recipe, bricks, list(heads.values())),
    )
    return contents, bricks, heads


def _past_states(path: Path) -> PastStates:
    """Everything that lies in the directory, unread."""
    return PastStates(
        Shelf(_files(path / RECIPES, RECIPE_SUFFIX, _read_recipe)),
        Shelf(_files(path / BRICKS, BRICK_SUFFIX, load_brick)),
        Shelf(_files(path / HEADS, HEAD_SUFFIX, load_head)),
        Shelf(_files(path / SIGNATURES, SIGNATURE_SUFFIX, load_signature)),
    )


def _files(folder: Path, suffix: str, read: Callable[[Path], _T]) -> dict[str, _T | partial[_T]]:
    found = folder.glob(f"*{suffix}") if folder.is_dir() else ()
    return {file.name.removesuffix(suffix): partial(read, file) for file in sorted(found)}


def _read_recipe(file: Path) -> Recipe:
    text = read_expected(file, MAX_DOCUMENT_BYTES, GeneralistError, "a recipe")
    recipe = read_document(Recipe, text, name=str(file), error=GeneralistError)
    if (found := recipe.digest) != file.name.removesuffix(RECIPE_SUFFIX):
        raise GeneralistError(f"{file}: expected the recipe that its name says, got {found[:12]}…")
    return recipe


def load_document(directory: Path) -> Document:
    """Read and validate `generalist.json` alone.

    Raises:
        GeneralistError: missing, damaged, or a lineage that does not lead to the recipe.
    """
    name = str(file := _document_file(directory))
    text = read_expected(file, MAX_DOCUMENT_BYTES, GeneralistError, "a generalist's document")
    document = read_document(Document, text, name=name, error=GeneralistError, format=1)
    refuse(GeneralistError, name, _recipe_problems(document))
    return document


def _document_file(directory: Path) -> Path:
    """Where it lies.

    Raises:
        GeneralistError: there is none.
    """
    if not (file := directory / DOCUMENT).exists():
        raise GeneralistError(
            f"{directory}: expected a generalist's directory, found no {DOCUMENT}; "
            "make one with medlego assemble"
        )
    return file


def _recipe_problems(document: Document) -> list[str]:
    problems = []
    try:
        method = find_method(document.recipe.method, document.recipe.provider)
        method.check_settings(document.recipe.settings)
    except MergeError as error:
        problems.append(f"recipe.{error}")
    heads: dict[str, str | None] = {}
    for item in document.recipe.bricks:
        if heads.setdefault(item.task, item.head) != item.head:
            problems.append(
                f"recipe.bricks: expected one head for all sites of {item.task!r}, got several; "
                "the directory was changed"
            )
    problems += chain_problems(document.lineage)
    stated, digest = document.lineage[-1].recipe, document.recipe.digest
    if stated != digest:
        problems.append(
            f"lineage: expected the recipe's digest {digest[:12]}… in the last step, "
            f"got {stated[:12]}…; assemble again"
        )
    return problems


def _read_brick(path: Path, item: Ingredient) -> Brick:
    file = path / BRICKS / f"{item.digest}{BRICK_SUFFIX}"
    brick = load_brick(file)
    if brick.digest != item.digest or brick.task.name != item.task:
        raise GeneralistError(
            f"{file}: expected brick {item.digest[:12]}… of task {item.task!r}, got "
            f"{brick.digest[:12]}… of {brick.task.name!r}; the directory was changed"
        )
    return brick


def _read_head(path: Path, item: Ingredient) -> RefitHead:
    file = path / HEADS / f"{item.head}{HEAD_SUFFIX}"
    refit = load_head(file)
    if (refit.digest, refit.task.name) != (item.head, item.task):
        raise GeneralistError(
            f"{file}: expected the refitted head of {item.task!r}, got {refit.digest[:12]}… of "
            f"{refit.task.name!r}; the directory was changed"
        )
    return refit
