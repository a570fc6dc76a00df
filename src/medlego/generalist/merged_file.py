"""Merged deltas as bytes: one safetensors file, which its SHA-256 names."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from medlego.base import Target
from medlego.bricks import LowRank, canonical_problems
from medlego.errors import GeneralistError, raise_all
from medlego.support import entry_problems, read_bounded, read_header, read_tensors, shown

MAX_MERGED_BYTES = 1 << 30
PARTS = ("U", "S", "Vh")


def merged_bytes(deltas: Mapping[str, LowRank]) -> bytes:
    """The file's content; equal deltas give equal bytes.

    Raises:
        GeneralistError: more than `MAX_MERGED_BYTES`.
    """
    content = save(
        {
            f"delta.{name}.{part}": getattr(delta, part).contiguous()
            for name, delta in deltas.items()
            for part in PARTS
        }
    )
    if len(content) > MAX_MERGED_BYTES:
        raise GeneralistError(
            f"merged deltas: expected at most {MAX_MERGED_BYTES:,} bytes, got {len(content):,}; "
            "assemble with a rank"
        )
    return content


def made_on() -> dict[str, str]:
    """What may decide the last bits of a merge: the same here and there, the same bytes."""
    return {
        "torch": version("torch"),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": processor(),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def read_merged(file: Path, digest: str, targets: Sequence[Target]) -> dict[str, LowRank]:
    """Read and validate merged deltas.

    Args:
        file: where they lie.
        digest: SHA-256 that the file must have.
        targets: what they must be deltas of, no more and no less.

    Raises:
        GeneralistError: a missing, changed or damaged file, or other targets.
    """
    try:
        content = read_bounded(file, MAX_MERGED_BYTES)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise ValueError(f"expected SHA-256 {digest[:12]}…, got {found[:12]}…; assemble again")
        header = read_header(content)
        raise_all(GeneralistError, str(file), entry_problems(header))
        if "__metadata__" in header:
            raise ValueError("expected no __metadata__")
        tensors = read_tensors(content)
    except OSError as error:
        raise GeneralistError(f"{file}: expected the merged deltas ({error.strerror})") from error
    except ValueError as error:
        raise GeneralistError(f"{file}: {error}") from error
    raise_all(GeneralistError, str(file), _name_problems(tensors, targets))
    deltas = {
        t.name: LowRank(*(tensors[f"delta.{t.name}.{part}"] for part in PARTS)) for t in targets
    }
    raise_all(GeneralistError, str(file), _delta_problems(deltas, targets))
    return deltas


def _name_problems(tensors: Mapping[str, Tensor], targets: Sequence[Target]) -> list[str]:
    expected = {f"delta.{t.name}.{part}" for t in targets for part in PARTS}
    problems = [f"{key}: missing" for key in sorted(expected - tensors.keys())]
    extra = sorted(tensors.keys() - expected)
    return problems + [f"{shown(key)}: expected no such tensor" for key in extra]


def _delta_problems(deltas: Mapping[str, LowRank], targets: Sequence[Target]) -> list[str]:
    problems = []
    for target in targets:
        delta, (out, columns) = deltas[target.name], target.shape
        U, S, Vh = (tuple(getattr(delta, part).shape) for part in PARTS)
        rank = min(*S[:1], out, columns)
        if (U, S, Vh) != ((out, rank), (rank,), (rank, columns)):
            problems.append(
                f"{target.name}: expected shape {target.shape} at a rank of at most "
                f"{min(out, columns)}, got {U}, {S} and {Vh}"
            )
        else:
            problems += [f"{target.name}.{problem}" for problem in canonical_problems(delta)]
    return problems
