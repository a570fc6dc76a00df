"""A folder per class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from medlego.data.label_text import plain_label
from medlego.data.readers.building import make_task, split_samples
from medlego.data.readers.headers import contradictions, patient_images, with_headers
from medlego.data.readers.labels import in_order
from medlego.data.readers.table import TABLE_SUFFIXES
from medlego.data.samples import SPLITS, Dataset, FileImages, Samples, TaskHints, as_number
from medlego.errors import DatasetError, raise_all
from medlego.images import Header, is_image, is_voxels, visible_files

_NO_CLASS = re.compile(
    r"(site|hospital|clinic|cent(er|re)|scanner|patient|pat|subject|sub|case|study|series|batch|part|"
    r"fold)s?([\s_.-]|\d|[a-z]?$)",
    re.IGNORECASE,
)
"""Names of sites, people and parts of a data set, as folders of them are called."""


def read_folder(folder: Path, hints: TaskHints, seed: int, *, keep_torn: bool = False) -> Dataset:
    """Read `folder/CLASS/…` or `folder/{train,val,test}/CLASS/…`.

    DICOM images bring patients and groups by their headers.

    Raises:
        DatasetError: no classes or no images; splits that part a patient's images, unless
            `keep_torn` accepts them for a leak check.
    """
    has_splits = (folder / "train").is_dir()
    if has_splits and not all((folder / name).is_dir() for name in SPLITS):
        raise DatasetError(f"{folder}: expected sub-folders train, val and test, or none of them")
    tops = {name: folder / name for name in SPLITS} if has_splits else {"": folder}
    folders = {d.name for top in tops.values() for d in top.iterdir() if d.is_dir()}
    names = _class_names(folder, {name for name in folders if not name.startswith(".")})
    classes = in_order(names, hints.kind)
    notes = dict.fromkeys(_suspicious(classes))
    labels = hints.labels or classes
    if unknown := sorted(set(classes) - set(labels)):
        raise DatasetError(f"{folder}: expected classes {', '.join(labels)}, got also {unknown}")
    if len(classes) < 2:
        tables = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TABLE_SUFFIXES)
        step = f"; if labels stand in {tables[0]}, pass {folder / tables[0]}" if tables else ""
        raise DatasetError(f"{folder}: expected a sub-folder per class, found {len(classes)}{step}")
    parts: dict[str, Samples] = {}
    stated: list[Header] = []
    for name, top in tops.items():
        pairs = []
        for number, label in enumerate(labels):
            below = sorted(visible_files(top / names.get(label, label)))
            images = [path for path in below if is_image(path)]
            pairs += [(path, number) for path in images]
            if others := len(below) - len(images) - sum(map(is_voxels, below)):
                notes[
                    f"left out: {others} files of {label} that are no images by name or content"
                ] = None
        if not pairs:
            raise DatasetError(f"{top}: expected images, found none; see docs/dicom.md for formats")
        kept, headers, skipped = patient_images([path for path, _ in pairs])
        notes |= dict.fromkeys(skipped)
        if not kept:
            raise DatasetError(f"{top}: expected images of patients, found none; {skipped[0]}")
        files, values = zip(*(pairs[i] for i in kept), strict=True)
        samples = Samples(FileImages(files), np.array(values, dtype=np.int64))
        parts[name], hints, header_notes = with_headers(samples, files, hints, headers)
        notes |= dict.fromkeys(header_notes)
        stated += headers.values()
    task = make_task(folder, folder.name, labels, hints)
    notes |= dict.fromkeys(contradictions(task, stated))
    if has_splits:
        if not keep_torn:
            _check_patients(folder, parts)
        return Dataset.of(task, parts, tuple(notes))
    return Dataset.of(task, split_samples(parts[""], None, seed), tuple(notes))


def _class_names(folder: Path, found: Collection[str]) -> dict[str, str]:
    """The sub-folders by the label that each stands for.

    Raises:
        DatasetError: names with invisible characters, or two that look alike.
    """
    names: dict[str, str] = {}
    problems = []
    for name in sorted(found):
        try:
            label = plain_label(name)
        except ValueError as error:
            problems.append(f"sub-folder: {error}; rename it")
            continue
        if label in names:
            problems.append(f"sub-folder {label!r}: expected one of this name, got two alike")
        names[label] = name
    raise_all(DatasetError, str(folder), problems)
    return names


def _suspicious(classes: Sequence[str]) -> list[str]:
    """A note where sub-folders look like places or people, not like classes."""
    if len(classes) < 2 or not all(_NO_CLASS.match(name) for name in classes):
        return []
    return [
        f"the sub-folders {', '.join(classes[:3])}, … are taken for classes; if they are sites or "
        "patients, pass a table of labels instead, with the columns path and label"
    ]


def _check_patients(folder: Path, parts: Mapping[str, Samples]) -> None:
    sides = [
        {as_number(patient) or patient for patient in part.patients.tolist()}
        for part in parts.values()
        if part.patients is not None
    ]
    seen = Counter(patient for side in sides for patient in side)
    if torn := sum(count > 1 for count in seen.values()):
        raise DatasetError(
            f"{folder}: expected each patient below one of {', '.join(SPLITS)}, got {torn} below "
            "several; medlego data check lists their files, keep a patient's together"
        )
