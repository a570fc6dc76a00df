"""What a generalist's directory holds, file by file: its document, and folders of parts by digest.

docs/FORMAT.md specifies it. Reading trusts no file more than `bricks.file` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from medlego.base import Digest
from medlego.bricks import (
    SIGNATURE_SUFFIX,
    brick_bytes,
    head_bytes,
    load_brick,
    load_head,
    load_signature,
    signature_bytes,
)
from medlego.data import Plain
from medlego.errors import GeneralistError, MergeError
from medlego.generalist.lineage import Entry, chain_problems
from medlego.generalist.past_states import Shelf
from medlego.merge import Recipe, find_method
from medlego.support import FrozenModel, read_document, read_expected, refuse, write_atomically

MAX_DOCUMENT_BYTES = 8 << 20
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


def merged_file(directory: Path, sha256: str) -> Path:
    return directory / "merged" / f"{sha256}.safetensors"


def load_document(directory: Path) -> Document:
    """Read and validate `generalist.json` alone.

    Raises:
        GeneralistError: missing, damaged, or a lineage that does not lead to the recipe.
    """
    name = str(file := document_file(directory))
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


def document_file(directory: Path) -> Path:
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
