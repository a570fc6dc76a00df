"""safetensors content that is not trusted: every step bounded, every mistake named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from medlego.support.strict_json import parse_object, shown

MAX_HEADER_BYTES = 8 << 20
_ENTRY = {"dtype", "shape", "data_offsets"}


def read_header(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file.

    Raises:
        ValueError: it is cut short, too large, or no JSON object.
    """
    if len(content) < 8:
        raise ValueError(f"expected at least 8 bytes, got {len(content)}")
    length, limit = int.from_bytes(content[:8], "little"), len(content) - 8
    if length > min(MAX_HEADER_BYTES, limit):
        raise ValueError(
            f"expected at most {min(MAX_HEADER_BYTES, limit):,} bytes, "
            f"got a claim of {length:,}; the file is cut short or of another kind"
        )
    return parse_object(content[8 : 8 + length])


def entry_problems(header: dict[str, Any]) -> list[str]:
    """Header entries that say more or less about a tensor than they must."""
    return [
        f"{shown(key)}: expected exactly dtype, shape and data_offsets in the header"
        for key, entry in header.items()
        if key != "__metadata__" and (not isinstance(entry, dict) or set(entry) != _ENTRY)
    ]


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: its entries and its bytes do not fit.
    """
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"expected a whole safetensors file ({shown(str(error))})") from error


def tensor_problems(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[str], set[str]]:
    """Compare tensors with the float32 ones that must be there, and no others.

    Returns:
        The problems, and the names of tensors of the right type and shape.
    """
    problems = [f"{key}: missing" for key in sorted(shapes.keys() - tensors.keys())]
    extra = sorted(tensors.keys() - shapes.keys())
    problems += [f"{shown(key)}: expected no such tensor" for key in extra]
    sound = set()
    for key in sorted(shapes.keys() & tensors.keys()):
        tensor = tensors[key]
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            problems.append(f"{key}: expected float32, got {kind}")
        elif tuple(tensor.shape) != shapes[key]:
            problems.append(f"{key}: expected shape {shapes[key]}, got {tuple(tensor.shape)}")
        else:
            sound.add(key)
    return problems, sound
