"""Data sets by path: a folder per class, a CSV manifest, a MedMNIST npz, or a MedMNIST name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlego.errors import DatasetError
from medlego.medmnist import fetch
from medlego.progress import Progress, silent
from medlego.readers import read_folder, read_manifest, read_npz
from medlego.samples import SPLITS, Dataset, TaskHints
from medlego.task import Kind


def load_dataset(
    source: str | Path,
    hints: TaskHints | None = None,
    *,
    seed: int = 0,
    show: Progress = silent,
) -> Dataset:
    """Read labelled images.

    Args:
        source: a folder with one sub-folder per class (below `train`, `val`, `test` where
            present), a CSV manifest, a MedMNIST-style `.npz`, or `medmnist:NAME[:SIZE]`.
        hints: what the files do not say; the task's name is the source's stem by default.
        seed: of the split, where the source has none (70/10/20, stratified by label; all
            images of a patient stay in one split).
        show: called with bytes done and bytes in all while a file is fetched.

    Raises:
        DatasetError: nothing there, unreadable labels, or an empty split.
    """
    hints = hints or TaskHints()
    text = str(source)
    if text.startswith("medmnist:"):
        name = text.removeprefix("medmnist:")
        path, hints = fetch(name, hints, progress=lambda done, total: show(text, done, total))
        return _checked(text, read_npz(path, hints))
    path = Path(source)
    if path.is_dir():
        return _checked(text, read_folder(path, hints, seed))
    if not path.exists():
        raise DatasetError(
            f"{path}: expected a folder, a .csv manifest or a .npz, found nothing there; "
            "check the path"
        )
    reader: dict[str, Callable[[], Dataset]] = {
        ".csv": lambda: read_manifest(path, hints, seed),
        ".npz": lambda: read_npz(path, hints),
    }
    if path.suffix.lower() not in reader:
        raise DatasetError(
            f"{path}: expected a folder, a .csv manifest or a .npz, got {path.suffix or 'a file'}"
        )
    return _checked(text, reader[path.suffix.lower()]())


def _checked(source: str, dataset: Dataset) -> Dataset:
    for name in SPLITS:
        samples = dataset.split(name)
        if len(samples) == 0:
            raise DatasetError(
                f"{source}: expected images in split {name!r}, got none; add some or drop the "
                "split column to have one made"
            )
    if dataset.task.kind is not Kind.MULTILABEL:
        present = np.unique(dataset.train.labels)
        absent = [
            dataset.task.labels[i] for i in range(len(dataset.task.labels)) if i not in present
        ]
        if absent:
            dataset = replace(
                dataset, notes=(*dataset.notes, f"no training image of: {', '.join(absent)}")
            )
    return dataset
