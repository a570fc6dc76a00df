"""A generalist on disk: recipe, lineage, bricks and merged deltas; never the base's weights.

docs/FORMAT.md specifies it. Reading trusts no file more than `brickfile` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Generic, Literal, Protocol, TypeVar

from filelock import FileLock, Timeout
from pydantic import Field

from medlego.base import Digest, Target
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
    signature_bytes,
)
from medlego.data import Plain
from medlego.errors import GeneralistError, MedLegoError, MergeError
from medlego.generalist.lineage import Entry, Lineage, chain_problems, withdrawn
from medlego.generalist.merged_file import made_on, merged_bytes, read_merged
from medlego.generalist.past_states import PastStates, Shelf
from medlego.merge import (
    Capability,
    Ingredient,
    Recipe,
    capabilities,
    conflicts,
    find_method,
    head_conflicts,
)
from medlego.support import (
    TEMPORARY,
    FrozenModel,
    ShortRepr,
    leftovers,
    read_document,
    read_expected,
    refuse,
    write_atomically,
)

MAX_DOCUMENT_BYTES = 8 << 20
LOCK_TIMEOUT_S = 60

DOCUMENT = "generalist.json"


class _HasDigest(Protocol):
    @property
    def digest(self) -> str: ...


_T = TypeVar("_T", bound=_HasDigest)


@dataclass(frozen=True)
class Folder(Generic[_T]):
    """Files of one kind in a directory, each named by the digest of what it holds.

    A signature's digest is that of the brick that it signs; a newer one replaces an older.
    """

    name: str
    suffix: str
    load: Callable[[Path], _T]
    content: Callable[[_T], bytes]
    replaces: bool = False

    def file(self, directory: Path, digest: str) -> Path:
        """Where what has a digest lies."""
        return directory / self.name / f"{digest}{self.suffix}"

    def read(self, directory: Path, digest: str) -> _T:
        """What has a digest.

        Raises:
            MedLegoError: it is missing or damaged, or the file holds another.
        """
        value = self.load(file := self.file(directory, digest))
        if value.digest != digest:
            raise GeneralistError(
                f"{file}: expected what its name says, got {value.digest[:12]}…; "
                "the directory was changed"
            )
        return value

    def shelf(self, directory: Path) -> Shelf[_T]:
        """Everything that lies there, unread."""
        files = sorted((directory / self.name).glob(f"*{self.suffix}"))
        digests = [file.name.removesuffix(self.suffix) for file in files]
        return Shelf({digest: partial(self.read, directory, digest) for digest in digests})

    def add(self, directory: Path, values: Mapping[str, _T]) -> None:
        """Write the files that are not there yet."""
        for digest in values:
            file = self.file(directory, digest)
            if self.replaces or not file.exists():
                file.parent.mkdir(exist_ok=True)
                write_atomically(file, self.content(values[digest]))


def _load_recipe(file: Path) -> Recipe:
    text = read_expected(file, MAX_DOCUMENT_BYTES, GeneralistError, "a recipe")
    return read_document(Recipe, text, name=str(file), error=GeneralistError)


RECIPES = Folder("recipes", ".json", _load_recipe, Recipe.spelled)
BRICKS = Folder("bricks", ".brick.safetensors", load_brick, brick_bytes)
HEADS = Folder("heads", ".head.safetensors", load_head, head_bytes)
SIGNATURES = Folder("signatures", SIGNATURE_SUFFIX, load_signature, signature_bytes, replaces=True)


class Document(FrozenModel):
    """`generalist.json`."""

    format: Literal[1]
    recipe: Recipe
    lineage: Annotated[tuple[Entry, ...], Field(min_length=1)]
    relative_loss: Annotated[float, Field(ge=0, le=1)]
    merged_sha256: Digest
    made_on: dict[str, Plain]
    """What may decide the merged deltas' last bits."""


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
    scratch = Path(tempfile.mkdtemp(TEMPORARY, f".{path.name}.", path.parent))
    try:
        _fill(scratch, state)
        scratch.chmod(0o755)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


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
    """Delete what `strays` lists; hold the directory by `editing`.

    Returns:
        Names of what went, relative to the directory.
    """
    stray = strays(path, lineage, past)
    for file in stray:
        if file.is_dir():  # scratch beside; should it stay, `strays` names it again
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return [os.path.relpath(file, path) for file in stray]


def strays(path: Path, lineage: Lineage, past: PastStates) -> list[Path]:
    """What no state needs: withdrawn bricks and heads, merges of before, files of killed writers.

    Where several wrote the directory at once when it was new, one of them put it in its place: what
    the others began beside it is stray too.
    """
    merged = _merged_file(path, load_document(path).merged_sha256)
    heads = {HEADS.file(path, digest) for digest in _needed_heads(lineage, past)}
    gone = [folder.file(path, d) for d in withdrawn(lineage) for folder in (BRICKS, SIGNATURES)]
    place = path.absolute()
    length = len(f".{place.name}.????????{TEMPORARY}")  # a neighbour's name may begin so
    beside = [s for s in leftovers(place.parent, place.name) if len(s.name) == length]
    stray = {
        *(file for file in merged.parent.glob("*") if file != merged),
        *(file for file in (path / HEADS.name).glob("*") if file not in heads),
        *(file for file in gone if file.exists()),
        *(file for kind in (BRICKS, RECIPES, SIGNATURES) for file in leftovers(path / kind.name)),
        *leftovers(path, DOCUMENT),
        *(scratch for scratch in beside if _is_own(scratch, path)),
    }
    return sorted(stray)


def _needed_heads(lineage: Lineage, past: PastStates) -> Collection[str]:
    """Those of tasks without a withdrawn brick; all, where a recipe cannot be read."""
    if not (gone := withdrawn(lineage)):
        return past.heads
    try:
        states = [recipe.bricks for recipe in past.recipes.values()]
    except MedLegoError:
        return past.heads
    return past.heads.keys() & {head for bricks in states for head in heads_without(bricks, gone)}


def heads_without(bricks: Sequence[Ingredient], gone: Collection[str]) -> set[str]:
    """Refitted heads of a state whose tasks have no withdrawn brick in it."""
    lost = {item.task for item in bricks if item.digest in gone}
    return {item.head for item in bricks if item.head is not None and item.task not in lost}


def _is_own(scratch: Path, path: Path) -> bool:
    """Whether it is a folder that the directory's owner made."""
    status = scratch.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == path.stat().st_uid


def being_edited(path: Path) -> bool:
    """Whether somebody holds the directory by `editing` at the moment, as far as one can tell."""
    try:
        with FileLock(path / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # it cannot be written, nor edited from here
        return False


def _merged_file(directory: Path, sha256: str) -> Path:
    return directory / "merged" / f"{sha256}.safetensors"


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
    if not (file := _merged_file(directory, document.merged_sha256)).exists():
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
            # an editor was faster: its document is there, and its files


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
    merged = _merged_file(path, document.merged_sha256)
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


def named_digests(directory: Path) -> set[str]:
    """Of everything that a document names, and those recipes of its lineage that lie beside it.

    Raises:
        GeneralistError: the document or one of these recipes is missing or damaged.
    """
    document, recipes = load_document(directory), RECIPES.shelf(directory)
    earlier = {entry.recipe for entry in document.lineage}
    states = [document.recipe, *(recipes[digest] for digest in earlier & recipes.keys())]
    items = [item for recipe in states for item in recipe.bricks]
    heads = {item.head for item in items if item.head is not None}
    return {document.merged_sha256, *earlier, *heads, *(item.digest for item in items)}


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
