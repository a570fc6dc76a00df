"""MedMNIST's 2D sets by name: what is known about each, and its file fetched once into the cache.

The facts (labels, kinds, licences, MD5 sums, the Zenodo record) are those of the PyPI package
medmnist 3.0.2, kept in `data/medmnist.json`; modality and body part are ours.

Source: Yang et al. 2023, doi:10.1038/s41597-022-01721-8; files at doi:10.5281/zenodo.10519652.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from medlego.data.samples import TaskHints
from medlego.errors import DatasetError
from medlego.support import ByteProgress, cache_directory, download

DEFAULT_SIZE = 28
"""Pixels per side where a spec names no size, as in the package medmnist."""


@dataclass(frozen=True)
class MedMNIST:
    """What is known about one 2D set; `labels` are in index order, `md5` is by pixels per side."""

    name: str
    kind: str
    labels: tuple[str, ...]
    modality: str
    body_part: str | None
    licence: str
    md5: Mapping[int, str]

    def file_name(self, size: int) -> str:
        """The file's name in the record: the smallest size has no suffix."""
        return f"{self.name}.npz" if size == DEFAULT_SIZE else f"{self.name}_{size}.npz"

    def complete(self, hints: TaskHints) -> TaskHints:
        """Fill in what `hints` leaves open; what it says stays."""
        facts = ("name", "kind", "labels", "modality", "body_part")
        left_open = {fact: getattr(self, fact) for fact in facts if getattr(hints, fact) is None}
        return replace(hints, **left_open)


def fetch(
    spec: str, hints: TaskHints, *, progress: ByteProgress | None = None
) -> tuple[Path, TaskHints]:
    """Fetch a set's file, unless the cache has it, and complete the hints.

    Args:
        spec: `NAME` or `NAME:SIZE`, for example `breastmnist:64`.
        hints: what the caller says about the task; it wins over MedMNIST's own words.
        progress: called after each piece that arrives, and not for a cached file.

    Returns:
        The `.npz` in the cache, its checksum verified, and the completed hints.

    Raises:
        DatasetError: no such set or size.
        DownloadError: the file could not be fetched whole or stored.
    """
    entry, size = resolve(spec)
    path = fetch_file(entry, size, cache_directory() / "medmnist", progress=progress)
    return path, entry.complete(hints)


@cache
def data_sets() -> Mapping[str, MedMNIST]:
    """Every set that can be fetched, by name."""
    read = TypeAdapter(MedMNIST).validate_python
    sets = {name: read({"name": name, **facts}) for name, facts in _facts()["data_sets"].items()}
    return MappingProxyType(sets)


def resolve(spec: str) -> tuple[MedMNIST, int]:
    """Turn `NAME` or `NAME:SIZE` into a set and its pixels per side.

    Raises:
        DatasetError: no such set or size.
    """
    name, colon, size = spec.partition(":")
    sets = data_sets()
    if name not in sets:
        close = difflib.get_close_matches(name.lower(), sets, n=1)
        step = f"did you mean {close[0]!r}?" if close else "choose one of them"
        raise DatasetError(
            f"medmnist:{spec}: expected one of the 2D sets {', '.join(sets)}, got {name!r}; {step}"
        )
    entry = sets[name]
    sizes = {str(pixels): pixels for pixels in entry.md5}
    if colon and size not in sizes:
        raise DatasetError(
            f"medmnist:{spec}: expected a size of {', '.join(sizes)}, got {size!r}; "
            f"write, for example, medmnist:{name}:{DEFAULT_SIZE}"
        )
    return entry, sizes[size] if colon else DEFAULT_SIZE


def fetch_file(
    entry: MedMNIST,
    size: int,
    folder: Path,
    *,
    base_url: str | None = None,
    progress: ByteProgress | None = None,
) -> Path:
    """Fetch one set's file into `folder`; `base_url` stands in for the Zenodo record's."""
    path = folder / entry.file_name(size)
    url = f"{base_url or _facts()['files']}/{path.name}?download=1"
    download(url, path, md5=entry.md5[size], progress=progress)
    return path


@cache
def _facts() -> dict[str, Any]:
    text = files("medlego").joinpath("data/medmnist.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts
