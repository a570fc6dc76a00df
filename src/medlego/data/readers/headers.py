"""What DICOM headers say of a data set's images: patients, and the groups that they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlego.data.samples import Samples, TaskHints
from medlego.data.task import Task
from medlego.errors import ImageError
from medlego.images import Header, is_dicom, read_header

AGE_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (float("inf"), "80+"))
"""Years below which an age falls into a band, and the band's name."""

_MODALITY, _PART = r"[A-Z]{2,8}", r"[A-Z][A-Z_ ]{0,31}"
"""The forms of these that tasks ask for."""


def patient_images(
    files: Sequence[Path], *, all_dicom: bool = False
) -> tuple[list[int], dict[Path, Header], tuple[str, ...]]:
    """Which files are images of patients, as far as DICOM headers say.

    Args:
        files: images, of any format unless `all_dicom`.
        all_dicom: their content was looked at before.

    Returns:
        Positions of those that are, or are no DICOM; their headers; notes on what is left out.
    """
    headers: dict[Path, Header] = {}
    reasons: dict[Path, str] = {}
    for path in dict.fromkeys(files):
        if not (all_dicom or is_dicom(path)):
            continue
        try:
            header = read_header(path)
        except ImageError:
            reasons[path] = "whose header cannot be read"
            continue
        if header.no_image:
            reasons[path] = f"that are no image of a patient but {header.no_image}"
        elif not header.has_pixels:
            reasons[path] = "without pixels"
        else:
            headers[path] = header
    counts = Counter(reasons[path] for path in files if path in reasons)
    notes = tuple(f"left out: {count} DICOM files {why}" for why, count in sorted(counts.items()))
    return [i for i, path in enumerate(files) if path not in reasons], headers, notes


def with_headers(
    samples: Samples,
    files: Sequence[Path],
    hints: TaskHints,
    headers: Mapping[Path, Header] | None = None,
) -> tuple[Samples, TaskHints, tuple[str, ...]]:
    """Add what the files' DICOM headers say and nobody said before; nothing if none is DICOM.

    An image of another format among DICOM files has no groups and stands for a patient of its own.

    Args:
        samples: the files' images.
        files: one per sample.
        hints: modality and body part are filled where all images have headers that agree.
        headers: those already read, by path.

    Returns:
        The samples, the hints, and notes on what the headers lack.

    Raises:
        ImageError: a DICOM file whose header cannot be read.
    """
    if headers is None:
        headers = {path: read_header(path) for path in dict.fromkeys(files) if is_dicom(path)}
    if not headers:
        return samples, hints, ()
    per_image = [headers.get(path) for path in files]
    dicom_headers = [header for header in per_image if header is not None]
    groups = {
        name: np.array(["" if header is None else of(header) or "" for header in per_image])
        for name, of in _GROUPS.items()
    }
    groups = {name: values for name, values in groups.items() if values.any()}
    filled = replace(
        hints,
        modality=hints.modality
        or _agreed([h.modality if h else None for h in per_image], _MODALITY),
        body_part=hints.body_part
        or _agreed([h.body_part if h else None for h in per_image], _PART),
    )
    patients = samples.patients
    notes: list[str] = []
    if patients is None:
        patients = np.array([_patient(path, of) for path, of in zip(files, per_image, strict=True)])
        if nameless := sum(not header.patient_id for header in dicom_headers):
            stand_in = "for splits, their study stands for one"
            notes.append(f"{nameless} images state no patient; {stand_in}")
        if others := len(per_image) - len(dicom_headers):
            notes.append(f"{others} images are no DICOM; each stands for a patient of its own")
    samples = replace(samples, patients=patients, groups=groups | dict(samples.groups))
    return samples, filled, tuple(notes)


def contradictions(task: Task, headers: Sequence[Header]) -> list[str]:
    """A note where headers state another modality or body part than the task has, or several."""
    notes = []
    for field, told in (("modality", task.modality), ("body_part", task.body_part)):
        stated = Counter((getattr(header, field) or "").upper() for header in headers)
        others = [f"{value} ({count:,})" for value, count in stated.most_common(5) if value]
        if len(stated.keys() - {"", told}) > (told is None):
            notes.append(f"{field}: task {told or 'unknown'}, DICOM headers {', '.join(others)}")
    return notes


def _patient(path: Path, header: Header | None) -> str:
    """The patient's id, or what comes closest: images that share it stay in one split."""
    if header is not None and header.patient_id:
        return header.patient_id
    known = header is not None and header.study_uid
    return f"study {known}" if known else f"file {path}"


def _age_band(header: Header) -> str | None:
    if header.age_years is None:
        return None
    return next(name for below, name in AGE_BANDS if header.age_years < below)


def _scanner(header: Header) -> str:
    return " ".join(part for part in (header.manufacturer, header.model) if part)


_GROUPS: Mapping[str, Callable[[Header], str | None]] = {
    "sex": lambda header: header.sex,
    "age_band": _age_band,
    "site": lambda header: header.site,
    "scanner": _scanner,
}


def _agreed(values: Iterable[str | None], pattern: str) -> str | None:
    """The one value that all state, if it has the form that tasks ask for."""
    stated = set(values)
    (value,) = stated if len(stated) == 1 else (None,)
    return value if value is not None and re.fullmatch(pattern, value) else None
