"""MedMNIST-style `.npz` files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlego.data.kinds import find_kind
from medlego.data.readers.building import make_task
from medlego.data.samples import SPLITS, ArrayImages, Dataset, Samples, TaskHints
from medlego.data.task import MAX_LABELS, Task
from medlego.errors import DatasetError, raise_all

_WANTED = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
_KEYS = frozenset({*_WANTED, "class_names"})

MAX_EXPANSION = 100
"""How many times as large as its file an array may be; images compress a few times at best."""
SMALL_BYTES = 1 << 28
"""Arrays that are small in sum may expand as they like."""

_BROKEN = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises for a damaged or foreign file."""


def read_npz(path: Path, hints: TaskHints) -> Dataset:
    """Read `train|val|test_images` and `_labels`, with optional `class_names`.

    Raises:
        DatasetError: damaged, pickled, without these arrays, or one that expands beyond reason.
    """
    arrays = _arrays(path)
    raise_all(DatasetError, str(path), [f"{key}: missing" for key in _WANTED if key not in arrays])
    problems = []
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or images.shape[3:] not in ((), (3,))
            or 0 in images.shape[1:]
        ):
            problems.append(
                f"{split}_images: expected uint8 (N, h, w) or (N, h, w, 3), "
                f"got {images.dtype} {images.shape}"
            )
        if labels.ndim not in (1, 2) or len(labels) != len(images):
            problems.append(
                f"{split}_labels: expected one row per image ({len(images)}), got {labels.shape}"
            )
        elif labels.dtype.kind not in "iufb":
            problems.append(f"{split}_labels: expected numbers, got {labels.dtype}")
        elif not np.all(np.isnan(labels) | ((labels >= 0) & (labels < MAX_LABELS))):
            problems.append(f"{split}_labels: expected numbers from 0 to {MAX_LABELS - 1}")
    names = arrays.get("class_names")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        problems.append(f"class_names: expected a row of text, got {names.dtype} {names.shape}")
    widths = {int(np.prod(arrays[f"{s}_labels"].shape[1:])) for s in SPLITS}
    if len(widths) > 1:
        problems.append(f"labels: expected as many columns in every split, got {sorted(widths)}")
    raise_all(DatasetError, str(path), problems)
    exclusive = widths == {1} and (hints.kind is None or find_kind(hints.kind).exclusive)
    highest = max(int(np.nanmax(arrays[f"{s}_labels"], initial=0)) for s in SPLITS)
    count = highest + 1 if exclusive else widths.pop()
    labels_ = hints.labels or (
        tuple(str(n) for n in names)
        if names is not None
        else tuple(f"class {i}" for i in range(count))
    )
    if len(labels_) < count:
        raise DatasetError(
            f"{path}: expected {count} label names, got {len(labels_)}; labels count from 0"
        )
    task = make_task(path, path.stem, labels_, hints, exclusive=exclusive)
    parts = {}
    for split in SPLITS:
        parts[split] = Samples(
            ArrayImages(arrays[f"{split}_images"]),
            _npz_labels(path, split, arrays[f"{split}_labels"], task),
        )
    return replace(Dataset.of(task, parts), numbered=names is None)


def _npz_labels(path: Path, split: str, raw: np.ndarray, task: Task) -> np.ndarray:
    try:
        return task.rules.read(raw[:, None] if raw.ndim == 1 else raw)
    except ValueError as error:
        raise DatasetError(f"{path}: {split}_labels: {error}") from error


def _refuse_bomb(path: Path, parts: Sequence[zipfile.ZipInfo]) -> None:
    used = [part for part in parts if part.filename.removesuffix(".npy") in _KEYS]
    size, packed = (sum(getattr(p, k) for p in used) for k in ("file_size", "compress_size"))
    if size > max(SMALL_BYTES, MAX_EXPANSION * packed):
        raise DatasetError(
            f"{path}: expected arrays at most {MAX_EXPANSION} times as large as their file, got "
            f"{size:,} bytes out of {packed:,}; do not trust it, or save it without compression"
        )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            _refuse_bomb(path, archive.zip.infolist())
            return {key: archive[key] for key in archive.files if key in _KEYS}
    except _BROKEN as error:
        raise DatasetError(
            f"{path}: expected a whole .npz without pickled objects, got another "
            f"({type(error).__name__}); fetch it again"
        ) from error
