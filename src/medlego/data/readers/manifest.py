"""A table of labels: one row per image file, DICOM image, series or study."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from medlego.data.readers.building import make_task, split_samples
from medlego.data.readers.columns import GROUP_PREFIX, KEYS, LABEL_PREFIX, Columns
from medlego.data.readers.dicomtree import find_rows
from medlego.data.readers.headers import contradictions, patient_images, with_headers
from medlego.data.readers.labels import Uncertain, many_labels, single_labels
from medlego.data.readers.table import TextTable, read_table
from medlego.data.samples import (
    SPLITS,
    Dataset,
    FileImages,
    ImageSource,
    Samples,
    TaskHints,
    as_number,
)
from medlego.errors import DatasetError
from medlego.images import Header

_SPLITS = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("valid", "validation", "dev", "tune"), "val"),
    **dict.fromkeys(("testing",), "test"),
}
"""What splits are called, in any case."""

OF_HEADER: Mapping[str, Callable[[Header], str | None]] = {
    "sop_instance_uid": lambda header: header.sop_uid,
    "series_instance_uid": lambda header: header.series_uid,
    "study_instance_uid": lambda header: header.study_uid,
}
"""What the columns `KEYS` name images by."""


def read_manifest(
    path: Path,
    hints: TaskHints,
    seed: int,
    *,
    folder: Path | None = None,
    keep_torn: bool = False,
    columns: Columns | None = None,
    uncertain: Uncertain = "unknown",
) -> Dataset:
    """Read a CSV, Parquet or Excel table of labels.

    A row's images are named by `path`, relative to the folder; or, where there is no such column,
    by `sop_instance_uid`, `series_instance_uid` or `study_instance_uid`, which are looked up in the
    headers of every DICOM file below the folder. The label stands in `label`, or in `label_NAME`
    columns with 1, 0 or nothing. Optional columns: `patient_id`, `split`, `site`, and `group_NAME`,
    which says to which part an image belongs, for checks by subgroup (an empty cell: to none). What
    the table does not say of patients and groups, DICOM headers say. A row whose `label` is empty,
    or whose image is not there, is left out with a note; an empty `label_NAME` cell is unknown, and
    so is -1. A cell without a value may say so (`MISSING`: NA, N/A, NULL, …); 1.0 is the label 1;
    several labels in a cell, between `|`, make a multilabel task. Names of columns may be in any
    case. Other columns are ignored. Messages name rows, the header being row 1, and no patient.

    Args:
        path: the table.
        hints: what it does not say of the task.
        seed: of the split, where the table has none.
        folder: where the images lie; the table's own by default.
        keep_torn: accept a given split that parts a patient's images or a file's rows, for a leak
            check.
        columns: names of columns where they are not the usual ones.
        uncertain: what -1 means in a `label_NAME` column.

    Raises:
        DatasetError: columns, labels, files or splits are wrong.
    """
    return read_rows(
        read_table(path, (columns or Columns()).rename, words=hints.labels or ()),
        hints,
        seed,
        folder=path.parent if folder is None else folder,
        keep_torn=keep_torn,
        uncertain=uncertain,
    )


def read_rows(
    table: TextTable,
    hints: TaskHints,
    seed: int,
    *,
    folder: Path,
    keep_torn: bool = False,
    uncertain: Uncertain = "unknown",
) -> Dataset:
    """The rows of a table as `read_manifest` takes them.

    Raises:
        DatasetError: as there.
    """
    path = table.path
    many = any(name.startswith(LABEL_PREFIX) for name in table.columns)
    key = next((name for name in ("path", *KEYS) if name in table.columns), None)
    if key is None or not ("label" in table.columns or many):
        raise DatasetError(
            f"{path}: expected columns 'path' and 'label' (or '{LABEL_PREFIX}…'), or one of "
            f"{', '.join(KEYS)} in place of 'path', got "
            f"{', '.join(name[:60] for name in table.header[:20]) or 'none'}; name others with "
            "--path-column and --label-column (in Python: columns)"
        )
    labelled, notes = labelled_rows(table)
    table = table.take(labelled)
    labels = set(table.columns.get("label", ()))
    headers: Mapping[Path, Header]
    if key == "path":
        table, files, missing = _files(table, folder)
        kept, headers, skipped = patient_images(files)
        if not kept:
            raise DatasetError(f"{path}: expected images of patients, got none; {skipped[0]}")
        table, files = table.take(kept), tuple(files[i] for i in kept)
        notes += [*missing, *skipped]
    else:
        rows, files, headers, row_notes = find_rows(table, key, OF_HEADER[key], folder)
        table, notes = table.take(rows), notes + row_notes
    if gone := sorted(labels - set(table.columns.get("label", ()))):
        notes.append(f"no image is there of label {', '.join(gone[:20])}")
    return as_dataset(
        table, FileImages(files), hints, seed, notes, files, headers, keep_torn, uncertain
    )


def labelled_rows(table: TextTable) -> tuple[list[int], list[str]]:
    """The rows that have a label, or all where labels stand in columns; and a note on the others.

    Raises:
        DatasetError: none has one.
    """
    cells = table.columns.get("label")
    labelled = [i for i in range(len(table)) if cells is None or cells[i]]
    if not labelled:
        raise DatasetError(f"{table.path}: expected at least one labelled row, got none")
    left = len(table) - len(labelled)
    return labelled, [f"left out: {left} images without a label"] if left else []


def as_dataset(
    table: TextTable,
    images: ImageSource,
    hints: TaskHints,
    seed: int,
    notes: Sequence[str] = (),
    files: Sequence[Path] = (),
    headers: Mapping[Path, Header] = MappingProxyType({}),
    keep_torn: bool = False,
    uncertain: Uncertain = "unknown",
) -> Dataset:
    """Labels, patients, groups and splits of a table, one row for each image.

    Raises:
        DatasetError: labels or splits are wrong.
    """
    path = table.path
    groups = {
        name.removeprefix(GROUP_PREFIX): table.words(name)
        for name in table.columns
        if name == "site" or name.startswith(GROUP_PREFIX)
    }
    if "label" in table.columns:
        labels, names, label_notes = single_labels(table, hints.labels, hints.kind)
    else:
        labels, names, label_notes = many_labels(table, hints.labels, uncertain)
    samples = Samples(images, labels, table.filled("patient_id"), groups)
    samples, hints, lacking = with_headers(samples, files, hints, headers)
    task = make_task(path, path.stem, names, hints, exclusive=labels.ndim == 1)
    named = [headers[file] for file in dict.fromkeys(files) if file in headers]
    lacking = (*lacking, *contradictions(task, named))
    splits = table.filled("split")
    if splits is not None:
        splits = np.array([_SPLITS.get(s.casefold(), s) for s in splits.tolist()])
    if splits is not None and (wrong := np.flatnonzero(~np.isin(splits, SPLITS))).size:
        raise DatasetError(
            f"{path}: split: expected {', '.join(SPLITS)}, got something else in {wrong.size} rows "
            f"(first in row {table.numbers[wrong[0]]})"
        )
    if splits is not None and not keep_torn:
        if samples.patients is not None:
            patients = [as_number(patient) or patient for patient in samples.patients.tolist()]
            _check_whole(table, "patient", patients, splits)
        if files:
            _check_whole(table, "image", files, splits)
    first: dict[Path, int] = {}
    same = np.array([first.setdefault(file, i) for i, file in enumerate(files)]) if files else None
    twice = [] if same is None else _twice(table, samples, same, keep_torn)
    parts = split_samples(samples, splits, seed, together=same)
    return Dataset.of(task, parts, (*notes, *label_notes, *lacking, *twice))


def _twice(table: TextTable, samples: Samples, same: np.ndarray, keep_torn: bool) -> list[str]:
    """Notes where a file stands again, (N,) `same` being its first row, and says something else.

    Raises:
        DatasetError: it stands under two patients, unless `keep_torn`.
    """
    ids = [] if samples.patients is None else samples.patients.tolist()
    numbers = [as_number(patient) or patient for patient in ids]
    notes = []
    if others := [i for i, patient in enumerate(numbers) if patient != numbers[same[i]]]:
        rows = table.rows(sorted({*others, *same[others].tolist()}))
        notes = [f"patient_id: expected one for each file, got several (rows {rows}); correct them"]
    if notes and not keep_torn:
        raise DatasetError(f"{table.path}: {notes[0]}")
    differ = np.nan_to_num(samples.labels - samples.labels[same]).reshape(len(same), -1).any(axis=1)
    if (again := np.flatnonzero(differ)).size:
        notes.append(
            f"{again.size:,} rows contradict the label that an earlier row gives their file (rows "
            f"{table.rows(again)}); where several hold at once, use a column label_NAME for each"
        )
    return notes


def _files(table: TextTable, folder: Path) -> tuple[TextTable, tuple[Path, ...], list[str]]:
    """The rows whose files are there, the files, and a note on the other rows."""
    files = [_below(folder, cell) for cell in table.columns["path"]]
    there = [i for i, file in enumerate(files) if _is_file(file)]
    found, notes = table.only(
        there,
        f"a file below {folder}",
        f" (row {table.numbers[0]}: {files[0].name[:100]!r}); where they lie elsewhere, pass "
        "TABLE@FOLDER (a frame: folder)",
    )
    return found, tuple(files[i] for i in there), notes


def _below(folder: Path, cell: str) -> Path:
    """A row's file; backslashes part folders where a path was written on Windows."""
    path = folder / cell
    return folder / cell.replace("\\", "/") if "\\" in cell and not _is_file(path) else path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _check_whole(table: TextTable, what: str, keys: Sequence[Hashable], splits: np.ndarray) -> None:
    by_key: dict[Hashable, set[str]] = {}
    for key, split in zip(keys, splits.tolist(), strict=True):
        by_key.setdefault(key, set()).add(split)
    torn = {key for key, own in by_key.items() if len(own) > 1}
    if torn:
        rows = table.rows((i for i, key in enumerate(keys) if key in torn), 20)
        raise DatasetError(
            f"{table.path}: split: expected each {what} in one split, got {len(torn)} in several "
            f"(rows {rows}); keep its rows together"
        )
