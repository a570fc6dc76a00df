"""A table of labels: one row per image file, DICOM image, series or study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from medlego.data.readers.building import make_task, split_samples
from medlego.data.readers.dicomtree import find_rows
from medlego.data.readers.headers import with_headers
from medlego.data.readers.table import TextTable, read_table
from medlego.data.samples import SPLITS, Dataset, FileImages, Samples, TaskHints
from medlego.errors import DatasetError, raise_all
from medlego.images import Header

GROUP_PREFIX = "group_"
LABEL_PREFIX = "label_"
"""Columns of a multilabel task: `label_effusion`, …, with 1, 0 or nothing (unknown)."""

KEYS: Mapping[str, Callable[[Header], str | None]] = {
    "sop_instance_uid": lambda header: header.sop_uid,
    "series_instance_uid": lambda header: header.series_uid,
    "study_instance_uid": lambda header: header.study_uid,
}
"""Columns that name DICOM images by their headers, the most exact first."""

_COLUMNS = {"path", "label", "patient_id", "split", "site", *KEYS}


def read_manifest(
    path: Path,
    hints: TaskHints,
    seed: int,
    *,
    folder: Path | None = None,
    keep_torn: bool = False,
) -> Dataset:
    """Read a CSV or Parquet table of labels.

    A row's images are named by `path`, relative to the folder; or, where there is no such column,
    by `sop_instance_uid`, `series_instance_uid` or `study_instance_uid`, which are looked up in
    the headers of every DICOM file below the folder. The label stands in `label`, or in
    `label_NAME` columns with 1, 0 or nothing. Optional columns: `patient_id`, `split`, `site`,
    and `group_NAME`, which says to which part an image belongs, for checks by subgroup (an empty
    cell: to none). What the table does not say of patients and groups, DICOM headers say. A row
    whose `label` is empty is left out; an empty `label_NAME` cell is unknown. Other columns are
    ignored. Messages name rows, the header being row 1, and no patient.

    Args:
        path: the table.
        hints: what it does not say of the task.
        seed: of the split, where the table has none.
        folder: where the images lie; the table's own by default.
        keep_torn: accept a given split that parts a patient's images, for a leak check.

    Raises:
        DatasetError: columns, labels, files or splits are wrong.
        ImageError: a DICOM file that a row names cannot be read.
    """
    folder = path.parent if folder is None else folder
    table = read_table(path, _is_read)
    many = any(name.startswith(LABEL_PREFIX) for name in table.columns)
    key = next((name for name in ("path", *KEYS) if name in table.columns), None)
    if key is None or not ("label" in table.columns or many):
        raise DatasetError(
            f"{path}: expected columns 'path' and 'label' (or '{LABEL_PREFIX}…'), or one of "
            f"{', '.join(KEYS)} in place of 'path', got {', '.join(sorted(table.columns))}"
        )
    notes: list[str] = []
    if "label" in table.columns:
        labelled = [i for i, label in enumerate(table.columns["label"]) if label]
        if unlabelled := len(table) - len(labelled):
            notes.append(f"left out: {unlabelled} images without a label")
        if not labelled:
            raise DatasetError(f"{path}: expected at least one labelled row, got none")
        table = table.take(labelled)
    headers = None
    if key == "path":
        files = _files(table, folder)
    else:
        rows, files, headers, row_notes = find_rows(table, key, KEYS[key], folder)
        table, notes = table.take(rows), notes + row_notes
    groups = {
        name.removeprefix(GROUP_PREFIX): table.words(name)
        for name in table.columns
        if name == "site" or name.startswith(GROUP_PREFIX)
    }
    exclusive = "label" in table.columns
    labels, names = (_single_labels if exclusive else _many_labels)(table, hints)
    samples = Samples(FileImages(files), labels, table.filled("patient_id"), groups)
    samples, hints, lacking = with_headers(samples, files, hints, headers)
    task = make_task(path, path.stem, names, hints, exclusive=exclusive)
    splits = table.filled("split")
    if splits is not None and (wrong := sorted(set(splits) - set(SPLITS))):
        raise DatasetError(f"{path}: split: expected {', '.join(SPLITS)}, got {', '.join(wrong)}")
    if samples.patients is not None and splits is not None and not keep_torn:
        _check_patients(table, samples.patients, splits)
    return Dataset.of(task, split_samples(samples, splits, seed), (*notes, *lacking))


def _is_read(name: str) -> bool:
    return name in _COLUMNS or name.startswith((LABEL_PREFIX, GROUP_PREFIX))


def _files(table: TextTable, folder: Path) -> tuple[Path, ...]:
    files = tuple(folder / cell for cell in table.columns["path"])
    missing = [
        f"row {i}: no file {f.name[:100]!r}"
        for i, f in zip(table.numbers, files, strict=True)
        if not _is_file(f)
    ]
    raise_all(DatasetError, str(table.path), missing[:20])
    return files


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _single_labels(table: TextTable, hints: TaskHints) -> tuple[np.ndarray, tuple[str, ...]]:
    values = table.columns["label"]
    names = hints.labels or tuple(sorted(set(values)))
    if unknown := sorted(set(values) - set(names)):
        raise DatasetError(f"{table.path}: expected labels {', '.join(names)}, got also {unknown}")
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[v] for v in values], dtype=np.int64), names


def _many_labels(table: TextTable, hints: TaskHints) -> tuple[np.ndarray, tuple[str, ...]]:
    cells = {"": np.nan, "0": 0.0, "1": 1.0}
    columns = [name for name in table.columns if name.startswith(LABEL_PREFIX)]
    problems = [
        f"row {number}, {name}: expected 1, 0 or nothing, got {cell[:40]!r}"
        for name in columns
        for number, cell in zip(table.numbers, table.columns[name], strict=True)
        if cell not in cells
    ]
    raise_all(DatasetError, str(table.path), problems[:20])
    in_columns = tuple(name.removeprefix(LABEL_PREFIX) for name in columns)
    names = hints.labels or in_columns
    if set(names) != set(in_columns):
        raise DatasetError(
            f"{table.path}: labels: expected those of the columns, {', '.join(in_columns)}, "
            f"got {', '.join(names)}"
        )
    values = [[cells[cell] for cell in table.columns[f"{LABEL_PREFIX}{name}"]] for name in names]
    return np.array(values, dtype=np.float32).T.copy(), names


def _check_patients(table: TextTable, patients: np.ndarray, splits: np.ndarray) -> None:
    by_patient: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        by_patient.setdefault(patient, set()).add(split)
    torn = {patient for patient, own in by_patient.items() if len(own) > 1}
    if torn:
        hit = (str(i) for i, p in zip(table.numbers, patients, strict=True) if p in torn)
        rows = list(dict.fromkeys(hit))
        more = f" and {len(rows) - 20} more" if len(rows) > 20 else ""
        raise DatasetError(
            f"{table.path}: split: expected each patient in one split, got {len(torn)} in several "
            f"(rows {', '.join(rows[:20])}{more}); keep a patient's rows together"
        )
