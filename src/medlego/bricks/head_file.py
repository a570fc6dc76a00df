"""A head refitted to a merged model's features, and its file: all that comes back from a site.

docs/FORMAT.md specifies the file. It is read as strictly as a brick's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError
from safetensors.torch import save
from torch import Tensor

from medlego.base import Digest
from medlego.bricks.brick import Card, Head, content_digest, head_problems
from medlego.bricks.file import Scalar, given
from medlego.data import Task
from medlego.errors import GeneralistError, raise_all
from medlego.metrics import Calibration, calibration_problems
from medlego.support import (
    MAX_HEADER_BYTES,
    FrozenModel,
    ShortRepr,
    check_format,
    entry_problems,
    field_problems,
    parse_object,
    read_expected,
    read_header,
    read_tensors,
    spell,
    tensor_problems,
    text_problems,
    write_atomically,
)

MAX_FILE_BYTES = MAX_HEADER_BYTES + (1 << 30)
_KEY = "medlego_head"


@dataclass(frozen=True, eq=False, repr=False)
class RefitHead(ShortRepr):
    """A task's new head for one merged model.

    `model` is the digest of the recipe whose features it reads (`Recipe.model`); on any other
    model it means nothing. `settings` say how it was fitted, `card` on how many images.
    `calibration` is of this head on this model.
    """

    model: str
    task: Task
    head: Head
    settings: Mapping[str, Any]
    card: Card
    calibration: Calibration | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, as a brick's."""
        return content_digest(spell(_document(self)), _tensors(self))


class _Document(FrozenModel):
    format: Literal[1]
    digest: str
    model: Digest
    task: Task
    features: int
    settings: dict[str, Scalar | list[Scalar]]
    card: Card
    calibration: Annotated[Calibration | None, AfterValidator(given)] = None


def save_head(refit: RefitHead, path: str | Path) -> None:
    """Write a refitted head to one file, atomically; the same head gives the same bytes."""
    write_atomically(Path(path), head_bytes(refit))


def head_bytes(refit: RefitHead) -> bytes:
    """The file's content, with its digest."""
    stated = spell(_document(refit) | {"digest": refit.digest})
    return save(_tensors(refit), metadata={_KEY: stated.decode()})


def load_head(path: str | Path) -> RefitHead:
    """Read and fully validate a refitted head.

    Raises:
        GeneralistError: anything in the file that breaks docs/FORMAT.md.
    """
    path = Path(path)
    content = read_expected(path, MAX_FILE_BYTES, GeneralistError, "a refitted head")
    try:
        header = read_header(content)
        metadata = header.get("__metadata__")
        if not isinstance(metadata, dict) or set(metadata) != {_KEY}:
            raise ValueError(f"__metadata__: expected exactly the key {_KEY!r}; is this a head?")
        text = str(metadata[_KEY]).encode("utf-8", "surrogatepass")
        raw = parse_object(text)
        check_format(raw, 1)
        document = _Document.model_validate_json(text, strict=True)
        problems = text_problems(raw) + entry_problems(header)
        tensors = read_tensors(content)
    except ValidationError as error:
        raise_all(GeneralistError, str(path), field_problems(error))
        raise
    except ValueError as error:
        raise GeneralistError(f"{path}: {error}") from error
    rows, outputs = document.task.head_shape
    shapes = {"head.weight": (rows, document.features), "head.bias": (outputs,)}
    found, sound = tensor_problems(tensors, shapes)
    problems += found + head_problems({key: tensors[key] for key in sound}, document.task)
    if document.calibration is not None:
        found = calibration_problems(document.calibration, document.task)
        problems += [f"calibration.{p}" for p in found]
    raise_all(GeneralistError, str(path), problems)
    head = Head(tensors["head.weight"], tensors["head.bias"])
    refit = RefitHead(
        document.model,
        document.task,
        head,
        document.settings,
        document.card,
        document.calibration,
    )
    if text != spell(_document(refit) | {"digest": refit.digest}):
        raise GeneralistError(
            f"{path}: digest: expected {refit.digest} and the one spelling of docs/FORMAT.md, got "
            f"{document.digest[:80]!r}; the file was altered or damaged, fetch it again"
        )
    return refit


def _document(refit: RefitHead) -> dict[str, Any]:
    document = {
        "format": 1,
        "model": refit.model,
        "task": refit.task.model_dump(mode="json"),
        "features": refit.head.weight.shape[1],
        "settings": dict(refit.settings),
        "card": refit.card.model_dump(mode="json"),
    }
    if refit.calibration is not None:
        document["calibration"] = refit.calibration.model_dump(mode="json")
    return document


def _tensors(refit: RefitHead) -> dict[str, Tensor]:
    return {
        "head.weight": refit.head.weight.contiguous(),
        "head.bias": refit.head.bias.contiguous(),
    }
