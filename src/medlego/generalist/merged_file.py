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
from medlego.bricks import LowRank, delta_group, group_tensors, read_groups
from medlego.errors import GeneralistError
from medlego.support import SafetensorsFile, refuse

MAX_MERGED_BYTES = 1 << 30


def merged_bytes(deltas: Mapping[str, LowRank]) -> bytes:
    """The file's content; equal deltas give equal bytes.

    Raises:
        GeneralistError: more than `MAX_MERGED_BYTES`.
    """
    content = save(group_tensors({f"delta.{name}": delta for name, delta in deltas.items()}))
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
    merged = SafetensorsFile.read(file, MAX_MERGED_BYTES, GeneralistError, "the merged deltas")
    actual = hashlib.sha256(merged.content).hexdigest()
    if actual != digest:
        raise GeneralistError(
            f"{file}: expected SHA-256 {digest[:12]}…, got {actual[:12]}…; assemble again"
        )
    if "__metadata__" in merged.header:
        raise GeneralistError(f"{file}: expected no __metadata__")
    tensors = merged.tensors()
    ranks = {t.name: _rank(tensors.get(f"delta.{t.name}.S"), t) for t in targets}
    groups = {f"delta.{t.name}": delta_group(t.shape, ranks[t.name]) for t in targets}
    deltas, problems = read_groups(tensors, groups)
    refuse(GeneralistError, str(file), problems)
    return {target.name: deltas[f"delta.{target.name}"] for target in targets}


def _rank(values: Tensor | None, target: Target) -> int:
    """The rank that a file's singular values speak of, as far as the target has so many."""
    stated = len(values) if values is not None and values.ndim else 1
    return min(stated, *target.shape)
