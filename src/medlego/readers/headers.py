"""What DICOM headers say of a data set's images: patients, and the groups that they belong to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlego.dicom import Header, is_dicom, read_header
from medlego.samples import Samples, TaskHints

AGE_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (float("inf"), "80+"))
"""Years below which an age falls into a band, and the band's name."""


def with_headers(
    samples: Samples,
    files: Sequence[Path],
    hints: TaskHints,
    headers: Mapping[Path, Header] | None = None,
) -> tuple[Samples, TaskHints, tuple[str, ...]]:
    """Add what the files' DICOM headers say and nobody said before; nothing if one is no DICOM.

    Args:
        samples: the files' images.
        files: one per sample.
        hints: modality and body part are filled where all headers agree.
        headers: those already read, by path.

    Returns:
        The samples, the hints, and notes on what the headers lack.

    Raises:
        ImageError: a DICOM file whose header cannot be read.
    """
    if headers is None:
        if not all(map(is_dicom, dict.fromkeys(files))):
            return samples, hints, ()
        headers = {path: read_header(path) for path in dict.fromkeys(files)}
    found = [headers[path] for path in files]
    groups = {
        name: np.array([of(header) or "" for header in found]) for name, of in _GROUPS.items()
    }
    groups = {name: values for name, values in groups.items() if values.any()}
    filled = replace(
        hints,
        modality=hints.modality or _agreed((h.modality for h in found), r"[A-Z]{2,8}"),
        body_part=hints.body_part or _agreed((h.body_part for h in found), r"[A-Z][A-Z_ ]{0,31}"),
    )
    patients = samples.patients
    notes: tuple[str, ...] = ()
    if patients is None:
        patients = np.array([_patient(header) for header in found])
        if nameless := sum(not header.patient_id for header in found):
            notes = (f"{nameless} images state no patient; for splits, their study stands for one",)
    return replace(samples, patients=patients, groups=groups | dict(samples.groups)), filled, notes


def _patient(header: Header) -> str:
    """The patient's id, or what comes closest: images that share it stay in one split."""
    if header.patient_id:
        return header.patient_id
    return f"study {header.study_uid}" if header.study_uid else f"file {header.path}"


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
