"""One reader per shape of data set: folder per class, CSV manifest, MedMNIST npz."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medlego.errors import DatasetError, raise_all
from medlego.samples import (
    SPLITS,
    ArrayImages,
    Dataset,
    FileImages,
    Samples,
    TaskHints,
    image_files,
    split_by_patient,
)
from medlego.task import MAX_LABELS, Kind, Task, as_task_name

GROUP_PREFIX = "group_"
LABEL_PREFIX = "label_"
"""Manifest columns of a multilabel task: `label_effusion`, …, with 1, 0 or nothing (unknown)."""

_BROKEN = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises for a damaged or foreign file."""


def read_folder(folder: Path, hints: TaskHints, seed: int) -> Dataset:
    """Read `folder/CLASS/…` or `folder/{train,val,test}/CLASS/…`."""
    has_splits = (folder / "train").is_dir()
    if has_splits and not all((folder / name).is_dir() for name in SPLITS):
        raise DatasetError(f"{folder}: expected sub-folders train, val and test, or none of them")
    tops = {name: folder / name for name in SPLITS} if has_splits else {"": folder}
    folders = {d.name for top in tops.values() for d in top.iterdir() if d.is_dir()}
    found = sorted(name for name in folders if not name.startswith("."))
    labels = hints.labels or tuple(found)
    if unknown := sorted(set(found) - set(labels)):
        raise DatasetError(f"{folder}: expected classes {', '.join(labels)}, got also {unknown}")
    if len(found) < 2:
        raise DatasetError(f"{folder}: expected a sub-folder per class, found {len(found)}")
    task = _task(folder, folder.name, labels, hints, Kind.BINARY if len(labels) == 2 else None)
    parts: dict[str, Samples] = {}
    for name, top in tops.items():
        pairs = [(p, i) for i, label in enumerate(labels) for p in image_files(top / label)]
        if not pairs:
            raise DatasetError(f"{top}: expected PNG, JPEG or TIFF images, found none")
        files, values = zip(*pairs, strict=True)
        parts[name] = Samples(FileImages(files), np.array(values, dtype=np.int64))
    if has_splits:
        return Dataset.of(task, parts)
    return Dataset.of(task, _split(parts[""], None, seed))


def read_manifest(path: Path, hints: TaskHints, seed: int) -> Dataset:
    """Read a CSV with columns `path`, `label` (or `label_NAME` …), `patient_id`, `split`.

    Paths are relative to the manifest. A multiclass label that is empty leaves its row out;
    an empty `label_NAME` cell is unknown. A column `group_NAME` says to which part an image
    belongs, for checks by subgroup; an empty cell, to none. Columns other than these are ignored.
    Messages name rows, the header being row 1, and no patient.
    """
    rows = _rows(path)
    columns = set(rows[0])
    many = [c for c in rows[0] if c.startswith(LABEL_PREFIX)]
    if "path" not in columns or not ("label" in columns or many):
        raise DatasetError(
            f"{path}: expected columns 'path' and 'label' (or '{LABEL_PREFIX}…'), "
            f"got {', '.join(sorted(columns))}"
        )
    notes: list[str] = []
    numbers = [i + 2 for i in range(len(rows))]
    if "label" in columns:
        numbers = [i for i in numbers if (rows[i - 2]["label"] or "").strip()]
        if len(numbers) < len(rows):
            notes.append(f"left out: {len(rows) - len(numbers)} images without a label")
        if not numbers:
            raise DatasetError(f"{path}: expected at least one labelled row, got none")
        rows = [rows[i - 2] for i in numbers]
        task, labels = _single_labels(path, rows, hints)
    else:
        task, labels = _many_labels(path, rows, many, hints)
    files = tuple(path.parent / (row["path"] or "") for row in rows)
    missing = [
        f"row {i}: no file {f.name[:100]!r}"
        for i, f in zip(numbers, files, strict=True)
        if not _is_file(f)
    ]
    raise_all(DatasetError, str(path), missing[:20])
    patients = _column(path, rows, numbers, "patient_id")
    groups = {
        name.removeprefix(GROUP_PREFIX): np.array([(row[name] or "").strip() for row in rows])
        for name in rows[0]
        if name.startswith(GROUP_PREFIX)
    }
    samples = Samples(FileImages(files), labels, patients, groups)
    given = _column(path, rows, numbers, "split")
    if given is not None and (wrong := sorted(set(given) - set(SPLITS))):
        raise DatasetError(f"{path}: split: expected {', '.join(SPLITS)}, got {', '.join(wrong)}")
    if patients is not None and given is not None:
        _check_patients(path, numbers, patients, given)
    return Dataset.of(task, _split(samples, given, seed), tuple(notes))


def read_npz(path: Path, hints: TaskHints) -> Dataset:
    """Read `train|val|test_images` and `_labels`, with optional `class_names`."""
    arrays = _arrays(path)
    wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    raise_all(DatasetError, str(path), [f"{key}: missing" for key in wanted if key not in arrays])
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
    multilabel = hints.kind is Kind.MULTILABEL or widths != {1}
    highest = max(int(np.nanmax(arrays[f"{s}_labels"], initial=0)) for s in SPLITS)
    count = widths.pop() if multilabel else highest + 1
    labels_ = hints.labels or (
        tuple(str(n) for n in names)
        if names is not None
        else tuple(f"class {i}" for i in range(count))
    )
    if len(labels_) < count:
        raise DatasetError(f"{path}: expected {count} label names, got {len(labels_)}")
    guess = Kind.MULTILABEL if multilabel else Kind.BINARY if len(labels_) == 2 else None
    task = _task(path, path.stem, labels_, hints, guess)
    parts = {}
    for split in SPLITS:
        parts[split] = Samples(
            ArrayImages(arrays[f"{split}_images"]),
            _npz_labels(path, split, arrays[f"{split}_labels"], task),
        )
    return Dataset.of(task, parts)


def _npz_labels(path: Path, split: str, raw: np.ndarray, task: Task) -> np.ndarray:
    raw = raw[:, None] if raw.ndim == 1 else raw
    if task.kind is Kind.MULTILABEL:
        values = raw.astype(np.float32)
        good = np.isnan(values) | (values == 0) | (values == 1)
        rule, columns = "0, 1 or NaN", values.shape[1]
    else:
        values = raw[:, 0].astype(np.float64)
        good = (values >= 0) & (values < len(task.labels)) & (values == np.floor(values))
        rule, columns = f"whole numbers 0 to {len(task.labels) - 1}", len(task.labels)
    if columns != len(task.labels) or not good.all():
        raise DatasetError(f"{path}: {split}_labels: expected {rule} for {len(task.labels)} labels")
    return values if task.kind is Kind.MULTILABEL else values.astype(np.int64)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _BROKEN as error:
        raise DatasetError(
            f"{path}: expected a whole .npz without pickled objects, got another "
            f"({type(error).__name__}); fetch it again"
        ) from error


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: expected UTF-8 CSV with a header ({error})") from error
    if not rows:
        raise DatasetError(f"{path}: expected a header and at least one row, got none")
    cells = len(rows[0].keys() - {None})
    ragged = [f"row {i + 2}: expected {cells} cells" for i, r in enumerate(rows) if None in r]
    raise_all(DatasetError, str(path), ragged[:20])
    return rows


def _single_labels(
    path: Path, rows: list[dict[str, Any]], hints: TaskHints
) -> tuple[Task, np.ndarray]:
    values = [row["label"].strip() for row in rows]
    labels = hints.labels or tuple(sorted(set(values)))
    if unknown := sorted(set(values) - set(labels)):
        raise DatasetError(f"{path}: expected labels {', '.join(labels)}, got also {unknown}")
    task = _task(path, path.stem, labels, hints, Kind.BINARY if len(labels) == 2 else None)
    number = {label: i for i, label in enumerate(labels)}
    return task, np.array([number[v] for v in values], dtype=np.int64)


def _many_labels(
    path: Path, rows: list[dict[str, Any]], columns: list[str], hints: TaskHints
) -> tuple[Task, np.ndarray]:
    cells = {"": np.nan, "0": 0.0, "1": 1.0}
    problems = [
        f"row {i + 2}, {c}: expected 1, 0 or nothing, got {row[c]!r}"
        for i, row in enumerate(rows)
        for c in columns
        if (row[c] or "").strip() not in cells
    ]
    raise_all(DatasetError, str(path), problems[:20])
    found = tuple(c.removeprefix(LABEL_PREFIX) for c in columns)
    labels = hints.labels or found
    if set(labels) != set(found):
        raise DatasetError(
            f"{path}: labels: expected those of the columns, {', '.join(found)}, "
            f"got {', '.join(labels)}"
        )
    columns = [f"{LABEL_PREFIX}{label}" for label in labels]
    task = _task(path, path.stem, labels, hints, Kind.MULTILABEL)
    values = [[cells[(row[c] or "").strip()] for c in columns] for row in rows]
    return task, np.array(values, dtype=np.float32)


def _check_patients(
    path: Path, numbers: list[int], patients: np.ndarray, given: np.ndarray
) -> None:
    splits: dict[str, set[str]] = {}
    for patient, split in zip(patients, given, strict=True):
        splits.setdefault(patient, set()).add(split)
    torn = {patient for patient, found in splits.items() if len(found) > 1}
    if torn:
        rows = [str(i) for i, p in zip(numbers, patients, strict=True) if p in torn]
        more = f" and {len(rows) - 20} more" if len(rows) > 20 else ""
        raise DatasetError(
            f"{path}: split: expected each patient in one split, got {len(torn)} in several "
            f"(rows {', '.join(rows[:20])}{more}); keep a patient's rows together"
        )


def _column(
    path: Path, rows: list[dict[str, Any]], numbers: list[int], name: str
) -> np.ndarray | None:
    if name not in rows[0]:
        return None
    values = [(row[name] or "").strip() for row in rows]
    if empty := [i for i, v in zip(numbers, values, strict=True) if not v]:
        raise DatasetError(f"{path}: {name}: expected a value in every row, none in row {empty[0]}")
    return np.array(values)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _split(samples: Samples, given: np.ndarray | None, seed: int) -> dict[str, Samples]:
    if given is None:
        parts = split_by_patient(samples.labels, samples.patients, seed)
    else:
        parts = {name: np.flatnonzero(given == name) for name in SPLITS}
    return {name: samples.take(indices) for name, indices in parts.items()}


def _task(
    path: Path, stem: str, labels: tuple[str, ...], hints: TaskHints, guess: Kind | None
) -> Task:
    if hints.kind is not None and (hints.kind is Kind.MULTILABEL) != (guess is Kind.MULTILABEL):
        many, one = "multilabel for a column per label", "another kind for one label per image"
        raise DatasetError(
            f"{path}: kind: expected {many if guess is Kind.MULTILABEL else one}, "
            f"got {hints.kind}; leave the kind out"
        )
    try:
        return Task(
            name=hints.name or as_task_name(stem),
            kind=hints.kind or guess or Kind.MULTICLASS,
            labels=labels,
            modality=hints.modality,
            body_part=hints.body_part,
        )
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'task'}: {e['msg']}" for e in error.errors()]
        raise_all(DatasetError, str(path), problems)
        raise
