"""A head refitted to a merged model's features, and its file: all that comes back from a site.

docs/FORMAT.md specifies the file. It is read as strictly as a brick's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from medlego.bricks.brick import Head, head_group
from medlego.bricks.content import content_digest, group_tensors, read_groups
from medlego.bricks.document import Card, HeadDocument
from medlego.bricks.file import read_stated
from medlego.data import Task
from medlego.errors import GeneralistError
from medlego.metrics import Calibration
from medlego.support import (
    MAX_HEADER_BYTES,
    SafetensorsFile,
    ShortRepr,
    read_fields,
    refuse,
    safetensors_bytes,
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
        return content_digest(self.document.spelled("digest"), self.tensors())

    @property
    def document(self) -> HeadDocument:
        """What its file says of it, but for the digest.

        Raises:
            GeneralistError: settings that do not belong into a file.
        """
        fields = {
            "format": 1,
            "model": self.model,
            "task": self.task,
            "features": self.head.weight.shape[1],
            "settings": dict(self.settings),
            "card": self.card,
            **({"calibration": self.calibration} if self.calibration else {}),
        }
        name = f"head of {self.task.name!r}"
        return read_fields(HeadDocument, fields, name=name, error=GeneralistError)

    def tensors(self) -> dict[str, Tensor]:
        """Both under their names in the file."""
        return group_tensors({"head": self.head})


def save_head(refit: RefitHead, path: str | Path) -> None:
    """Write a refitted head to one file, atomically; the same head gives the same bytes."""
    write_atomically(Path(path), head_bytes(refit))


def head_bytes(refit: RefitHead) -> bytes:
    """The file's content, with its digest."""
    document = refit.document.model_copy(update={"digest": refit.digest})
    return safetensors_bytes(refit.tensors(), _KEY, document.spelled())


def load_head(path: str | Path) -> RefitHead:
    """Read and fully validate a refitted head.

    Raises:
        GeneralistError: anything in the file that breaks docs/FORMAT.md.
    """
    file = SafetensorsFile.read(path, MAX_FILE_BYTES, GeneralistError, "a refitted head")
    document, tensors = read_stated(HeadDocument, file, _KEY), file.tensors()
    group = head_group(document.task, document.features)
    values, problems = read_groups(tensors, {"head": group})
    refuse(GeneralistError, file.name, document.calibration_problems() + problems)
    refuse(GeneralistError, file.name, document.digest_problems(tensors))
    return RefitHead(
        document.model,
        document.task,
        values["head"],
        document.settings,
        document.card,
        document.calibration,
    )
