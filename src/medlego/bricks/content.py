"""What brick and head files are made of: groups of tensors, and the digest of document and all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from medlego.support import tensor_problems


class HasTensors(Protocol):
    """A value that a group of tensors makes."""

    def tensors(self) -> dict[str, Tensor]:
        """By their last names in a file."""


@dataclass(frozen=True)
class TensorGroup:
    """Tensors of a file, named `GROUP.PART`, that make one value.

    `make` gets them in the order of `shapes`; `problems` says what is wrong with the value, one
    `<part>: <rule>` each.
    """

    shapes: Mapping[str, tuple[int, ...]]
    make: Callable[..., Any]
    problems: Callable[[Any], list[str]]


def group_tensors(values: Mapping[str, HasTensors]) -> dict[str, Tensor]:
    """Every tensor of values by group, under its name in a file."""
    return {
        f"{group}.{part}": tensor.detach().cpu().contiguous()
        for group, value in values.items()
        for part, tensor in value.tensors().items()
    }


def read_groups(
    tensors: Mapping[str, Tensor], groups: Mapping[str, TensorGroup]
) -> tuple[dict[str, Any], list[str]]:
    """The value of each group whose tensors have the right type and shape, and all problems."""
    shapes = {f"{g}.{part}": s for g, group in groups.items() for part, s in group.shapes.items()}
    problems, sound = tensor_problems(tensors, shapes)
    values = {}
    for name, group in groups.items():
        keys = [f"{name}.{part}" for part in group.shapes]
        if sound.issuperset(keys):
            values[name] = group.make(*(tensors[key] for key in keys))
            problems += [f"{name}.{problem}" for problem in group.problems(values[name])]
    return values, problems


def content_digest(document: bytes, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over a document without its own digest, spelled, and the tensors beside it."""
    digest = hashlib.sha256(document)
    for name, tensor in sorted(tensors.items()):
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"\0{name}\0{shape}\0".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()
