"""A generalist on disk: recipe, lineage, bricks and merged deltas; never the base's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from medlego.base import Target
from medlego.bricks import Brick, LowRank, RefitHead, all_targets
from medlego.errors import GeneralistError, MedLegoError, MergeError
from medlego.generalist.document import (
    BRICKS,
    DOCUMENT,
    HEADS,
    MAX_DOCUMENT_BYTES,
    RECIPES,
    SIGNATURES,
    Document,
    document_file,
    load_document,
    merged_file,
)
from medlego.generalist.lineage import Lineage
from medlego.generalist.merged_file import made_on, merged_bytes, read_merged
from medlego.generalist.past_states import PastStates
from medlego.generalist.strays import sweep
from medlego.merge import Capability, Recipe, capabilities, conflicts, head_conflicts
from medlego.support import ShortRepr, refuse, scratch_beside, write_atomically

LOCK_TIMEOUT_S = 60


@dataclass(frozen=True, eq=False, repr=False)
class GeneralistState(ShortRepr):
    """Everything that a generalist's directory holds.

    `capabilities` has one per task in the recipe's order, each with the head of its own bricks.
    `deltas` are the merged deltas by target name; `relative_loss` is the share of their
    Frobenius norm that a cut to a rank lost. `heads` are those refitted to this merge, by task
    name; a task without one is read by the head of its bricks. `past` holds what the lineage
    names, so that every state of it can be rebuilt.
    """

    recipe: Recipe
    bricks: tuple[Brick, ...]
    capabilities: tuple[Capability, ...] = field(repr=False)
    targets: tuple[Target, ...]
    deltas: Mapping[str, LowRank]
    relative_loss: float
    lineage: Lineage
    heads: Mapping[str, RefitHead] = field(default_factory=dict)
    past: PastStates = field(default_factory=PastStates)


def write_directory(path: Path, state: GeneralistState) -> None:
    """Write a generalist to a new directory, whole or not at all.

    Raises:
        GeneralistError: something else lies there already, or the deltas are too large.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise GeneralistError(f"{path}: expected a new directory, found one; choose another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(path) as scratch:
        _fill(scratch, state)
        scratch.chmod(0o755)
        scratch.replace(path)


def update_directory(path: Path, state: GeneralistState, last: str) -> None:
    """Put a generalist in the place of the one that lies there.

    New files come first and get names of their own, then the document is replaced at one stroke,
    then what nothing names any more goes. A kill at any moment leaves the one or the other.

    Args:
        path: an existing directory; hold it by `editing`.
        state: the new one.
        last: digest of the last lineage entry that the directory must have.

    Raises:
        GeneralistError: another last entry, or the deltas are too large.
    """
    actual = load_document(path).lineage[-1].digest
    if actual != last:
        raise GeneralistError(
            f"{path}: expected entry {last[:12]}… to be the last, got {actual[:12]}…; "
            "somebody edited it meanwhile, try again"
        )
    _fill(path, state)
    sweep(path, state.lineage, state.past)


Mark = tuple[int, int, int]
"""What changes when an edit replaces a directory's document."""


def read_mark(directory: Path) -> Mark | None:
    """A directory's at the moment; None where there is no document."""
    try:
        status = (directory / DOCUMENT).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextmanager
def editing(path: Path) -> Iterator[None]:
    """Hold a generalist's directory alone; the lock is free again when its holder dies.

    Raises:
        GeneralistError: no directory there, or somebody else is still at it after a minute.
    """
    document_file(path)
    try:
        with FileLock(path / ".lock", timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise GeneralistError(
            f"{path}: expected to edit it alone, got another editor for {LOCK_TIMEOUT_S} s; "
            "try again when it is done"
        ) from None


def being_edited(path: Path) -> bool:
    """Whether somebody holds the directory by `editing` at the moment, as far as one can tell."""
    try:
        with FileLock(path / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # it cannot be written, nor edited from here
        return False


def _fill(directory: Path, state: GeneralistState) -> None:
    """Write what is missing, the document last."""
    merged = merged_bytes(state.deltas)
    document = Document(
        format=1,
        recipe=state.recipe,
        lineage=state.lineage,
        relative_loss=state.relative_loss,
        merged_sha256=hashlib.sha256(merged).hexdigest(),
        made_on=made_on(),
    )
    BRICKS.add(directory, state.past.bricks)
    HEADS.add(directory, state.past.heads)
    SIGNATURES.add(directory, state.past.signatures)
    RECIPES.add(directory, state.past.recipes)
    if not (file := merged_file(directory, document.merged_sha256)).exists():
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, merged)
    text = json.dumps(document.model_dump(mode="json"), indent=2, sort_keys=True)
    if len(text) >= MAX_DOCUMENT_BYTES:
        raise GeneralistError(
            f"lineage: expected a document of at most {MAX_DOCUMENT_BYTES:,} bytes, got "
            f"{len(text):,}; assemble anew from its bricks"
        )
    write_atomically(directory / DOCUMENT, (text + "\n").encode())


def read_directory(path: Path) -> GeneralistState:
    """Read and validate a generalist; what only earlier states need is read when asked for.

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


def _read_state(path: Path, document: Document) -> GeneralistState:
    recipe = document.recipe
    bricks = tuple(BRICKS.read(path, item.digest) for item in recipe.bricks)
    heads = {item.task: HEADS.read(path, item.head) for item in recipe.bricks if item.head}
    problems = [
        f"recipe.bricks: expected {item.task!r}, got one of {value.task.name!r} in "
        f"{value.digest[:12]}…; the directory was changed"
        for item, brick in zip(recipe.bricks, bricks, strict=True)
        for value in (brick, heads.get(item.task, brick))
        if value.task.name != item.task
    ]
    refuse(GeneralistError, str(path), problems or conflicts(bricks))
    try:
        own = capabilities(bricks, recipe.sites)
    except MergeError as error:
        raise GeneralistError(f"{path}: recipe.{error}") from error
    problems = [p for head in heads.values() for p in head_conflicts(recipe, own, head)]
    refuse(GeneralistError, str(path), problems)
    targets = all_targets(bricks)
    merged = merged_file(path, document.merged_sha256)
    earlier = PastStates(
        RECIPES.shelf(path), BRICKS.shelf(path), HEADS.shelf(path), SIGNATURES.shelf(path)
    )
    return GeneralistState(
        recipe,
        bricks,
        own,
        targets,
        read_merged(merged, document.merged_sha256, targets),
        document.relative_loss,
        document.lineage,
        heads,
        earlier.plus(recipe, bricks, heads.values()),
    )
