"""Data sets by path: folder per class, table of labels, MedMNIST npz, or a MedMNIST name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medlego.data.kinds import find_kind
from medlego.data.label_map import LabelMap, map_labels
from medlego.data.label_text import near_spellings
from medlego.data.medmnist import fetch
from medlego.data.polarity import with_positive
from medlego.data.readers import READERS, DataSource
from medlego.data.readers.columns import Columns
from medlego.data.readers.labels import Uncertain
from medlego.data.readers.npz import read_npz
from medlego.data.readers.table import TABLE_SUFFIXES
from medlego.data.samples import SPLITS, Dataset, TaskHints, describe, join
from medlego.errors import DatasetError
from medlego.support import Progress, silent

AT = "@"
"""Between a table of labels and the folder where its images lie: `labels.csv@scans`."""


def load_dataset(
    source: str | Path,
    hints: TaskHints | None = None,
    *,
    labels: str | Path | None = None,
    label_map: LabelMap | None = None,
    seed: int = 0,
    keep_torn: bool = False,
    columns: Columns | None = None,
    uncertain: Uncertain = "unknown",
    needs: Collection[str] = SPLITS,
    show: Progress = silent,
) -> Dataset:
    """Read labelled images.

    Args:
        source: a folder with one sub-folder per class (below `train`, `val`, `test` where
            present), a CSV or Parquet table of labels (`read_manifest` says which columns), a
            MedMNIST-style `.npz`, or `medmnist:NAME[:SIZE]`. `TABLE@FOLDER` is a table whose
            images lie in another folder than its own.
        hints: what the files do not say; the task's name is the source's stem by default.
        labels: a table of labels, and `source` the folder where its images lie.
        label_map: renames labels; `hints.labels` are then those after the renaming.
        seed: of the split, where the source has none (70/10/20, stratified by label; all
            images of a patient stay in one split).
        keep_torn: accept a given split that parts a patient's images, for a leak check.
        columns, uncertain: of a table, see `read_manifest`.
        needs: the splits that must have images; none of them for a test set from outside.
        show: called with bytes done and bytes in all while a file is fetched.

    Raises:
        DatasetError: nothing there, unreadable labels, or an empty split.
        ImageError: a DICOM file's header cannot be read.
    """
    hints = hints or TaskHints()
    text = str(source) if labels is None else f"{labels}{AT}{source}"
    raw = hints
    if label_map is not None:
        several = hints.kind is not None and not find_kind(hints.kind).exclusive
        raw = replace(hints, labels=None, codes=None, kind=hints.kind if several else None)
    dataset = _read(
        text,
        raw,
        show,
        seed=seed,
        keep_torn=keep_torn,
        columns=columns,
        uncertain=uncertain,
    )
    if label_map is not None:
        dataset = map_labels(dataset, label_map, hints)
    return checked(text, with_positive(dataset, hints), needs)


DatasetLike = Dataset | str | Path
"""A data set, or what `load_dataset` reads."""


def open_dataset(data: DatasetLike) -> Dataset:
    """A data set as it is, or read from where it lies.

    Raises:
        DatasetError: something else, or as `load_dataset`.
    """
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | Path):
        raise DatasetError(
            f"data: expected a Dataset or a path, got {type(data).__name__}; "
            "Dataset.from_arrays, from_torch and from_frame make one"
        )
    return load_dataset(data)


def task_stem(source: str) -> str:
    """What a source without a task's name is called after: its file or folder."""
    return Path(table_and_folder(source)[0]).stem


def _read(text: str, hints: TaskHints, show: Progress, **settings: Any) -> Dataset:
    if text.startswith("medmnist:"):
        name = text.removeprefix("medmnist:")
        file, hints = fetch(name, hints, progress=lambda done, total: show(text, done, total))
        return read_npz(file, hints)
    source, folder = table_and_folder(text)
    path = Path(source)
    *shapes, last = (reader.shape for reader in READERS)
    expected = f"{path}: expected {', '.join(shapes)} or {last}"
    if not path.exists():
        raise DatasetError(f"{expected}, found nothing there; check the path")
    where = None if folder is None else Path(folder)
    for reader in READERS:
        if reader.accepts(path) and (where is None or reader.images_elsewhere):
            return reader.read(DataSource(path, hints, folder=where, **settings))
    raise DatasetError(f"{expected}, got {path.suffix or 'a file'}")


def table_and_folder(text: str) -> tuple[str, str | None]:
    """The two halves of `TABLE@FOLDER`; a path that exists as it stands is one."""
    if not Path(text).exists():
        for suffix in TABLE_SUFFIXES:
            table, at, folder = text.partition(f"{suffix}{AT}")
            if at:
                return f"{table}{suffix}", folder
    return text, None


def checked(source: str, dataset: Dataset, needs: Collection[str]) -> Dataset:
    """A data set with notes on labels that its splits lack, or that may be misspelt.

    Raises:
        DatasetError: an empty split among those that must not be.
    """
    whole = join([dataset.split(split) for split in SPLITS])
    for name in needs:
        samples = dataset.split(name)
        if len(samples) == 0:
            if whole.patients is not None and (count := len(np.unique(whole.patients))) < 3:
                raise DatasetError(
                    f"{source}: expected three patients or more for three splits, got {count}; "
                    "where ids were taken out alike, state others in a column patient_id"
                )
            raise DatasetError(
                f"{source}: expected images in split {name!r}, got none; add some or drop the "
                "split column to have one made"
            )
    notes, expected = list(dataset.notes), list(range(len(dataset.task.labels)))
    for name, what in (("train", "training"), ("val", "validation")):
        present = set(np.unique(dataset.split(name).labels).tolist())
        if dataset.task.rules.exclusive and present:
            absent = [dataset.task.labels[i] for i in expected if i not in present]
            notes += [f"no {what} image of: {', '.join(absent)}"] if absent else []
            expected = [i for i in expected if i in present]
    notes += near_spellings(describe(whole, dataset.task.labels))
    return replace(dataset, notes=tuple(notes))
