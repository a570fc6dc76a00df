"""safetensors files that nobody trusts: every step bounded, every mistake named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from medlego.errors import MedLegoError
from medlego.support.documents import read_document, refuse
from medlego.support.files import read_expected
from medlego.support.strict_json import parse_object, shown
from medlego.support.values import ShortRepr

MAX_HEADER_BYTES = 8 << 20
_ENTRY = {"dtype", "shape", "data_offsets"}

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, eq=False, repr=False)
class SafetensorsFile(ShortRepr):
    """A file's content; its parts are checked when they are asked for.

    `name` stands in front of every message; `error` is the class that everything here raises.
    """

    content: bytes
    name: str = field(repr=False)
    error: type[MedLegoError]

    @classmethod
    def read(
        cls, path: str | Path, limit: int, error: type[MedLegoError], what: str
    ) -> SafetensorsFile:
        """As `read_expected`."""
        return cls(read_expected(Path(path), limit, error, what), str(path), error)

    @cached_property
    def header(self) -> dict[str, Any]:
        """What stands in front of the tensors, of at most `MAX_HEADER_BYTES`."""
        length, limit = int.from_bytes(self.content[:8], "little"), len(self.content) - 8
        if limit < 0:
            raise self._refused(f"header: expected at least 8 bytes, got {limit + 8}")
        if self.content[8:9] not in (b"{", b""):
            raise self._refused("header: expected a safetensors file, got one of another kind")
        if length > (most := min(MAX_HEADER_BYTES, limit)):
            raise self._refused(
                f"header: expected at most {most:,} bytes, got a claim of {length:,}; "
                "the file is cut short"
            )
        try:
            return parse_object(self.content[8 : 8 + length])
        except ValueError as problem:
            raise self._refused(f"header: {problem}") from problem

    def text(self, key: str) -> bytes:
        """The one document in the file's metadata, as it stands there."""
        metadata = self.header.get("__metadata__")
        if not isinstance(metadata, dict) or set(metadata) != {key}:
            raise self._refused(
                f"__metadata__: expected exactly the key {key!r}; is this file of another kind?"
            )
        return str(metadata[key]).encode("utf-8", "surrogatepass")

    def document(self, model: type[_Model], key: str, format: int = 1) -> _Model:
        """The one document in the file's metadata; see `read_document`."""
        return read_document(
            model, self.text(key), name=self.name, error=self.error, format=format, place=key
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; the entries and the bytes must fit without a gap."""
        problems = [
            f"{shown(key)}: expected exactly dtype, shape and data_offsets in the header"
            for key, entry in self.header.items()
            if key != "__metadata__" and (not isinstance(entry, dict) or set(entry) != _ENTRY)
        ]
        refuse(self.error, self.name, problems)
        try:
            return load(self.content)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError) as e:
            raise self._refused(
                f"tensors: expected a whole safetensors file ({shown(str(e))})"
            ) from e

    def _refused(self, problem: str) -> MedLegoError:
        return self.error(f"{self.name}: {problem}")


def safetensors_bytes(tensors: Mapping[str, Tensor], key: str, document: bytes) -> bytes:
    """A file's content: tensors, and one document in the metadata."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(whole, metadata={key: document.decode()})


def tensor_problems(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> tuple[list[str], set[str]]:
    """Compare tensors with those that must be there, and no others.

    Args:
        tensors: by name.
        shapes: that they must have.
        dtypes: of those that are not float32.

    Returns:
        The problems, and the names of tensors of the right type and shape.
    """
    problems = [f"{key}: missing" for key in sorted(shapes.keys() - tensors.keys())]
    extra = sorted(tensors.keys() - shapes.keys())
    problems += [f"{shown(key)}: expected no such tensor" for key in extra]
    sound = set()
    for key in sorted(shapes.keys() & tensors.keys()):
        tensor, dtype = tensors[key], (dtypes or {}).get(key, torch.float32)
        if tensor.dtype != dtype:
            problems.append(f"{key}: expected {_plain(dtype)}, got {_plain(tensor.dtype)}")
        elif tuple(tensor.shape) != shapes[key]:
            problems.append(f"{key}: expected shape {shapes[key]}, got {tuple(tensor.shape)}")
        else:
            sound.add(key)
    return problems, sound


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
