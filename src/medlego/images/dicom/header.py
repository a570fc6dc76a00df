"""What a DICOM file says of itself, without its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.objects import OBJECT_KEYWORDS, no_patient_image
from medlego.images.dicom.parsing import parsed
from medlego.support import ShortRepr

_KEYWORDS = (
    *OBJECT_KEYWORDS,
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "BodyPartExamined",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
OLDEST_YEARS = 125.0
_AGE_UNITS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, repr=False)
class Header(ShortRepr):
    """What data sets are built on; None is unknown.

    `patient_id` and `institution` identify: keep them at the site. `frames` is 1 for an ordinary
    image; `rows` and `columns` are pixels, None for a file that holds no image.
    """

    path: Path = field(repr=False)
    sop_class_uid: str | None
    sop_uid: str | None = field(repr=False)
    study_uid: str | None = field(repr=False)
    series_uid: str | None = field(repr=False)
    patient_id: str | None = field(repr=False)
    sex: str | None = field(repr=False)
    age_years: float | None = field(repr=False)
    modality: str | None
    body_part: str | None
    manufacturer: str | None
    model: str | None
    institution: str | None = field(repr=False)
    station: str | None = field(repr=False)
    rows: int | None
    columns: int | None
    frames: int
    transfer_syntax_uid: str
    has_pixels: bool
    no_image: str | None = field(default=None, repr=False)
    """What the object is instead of an image of a patient."""

    @property
    def site(self) -> str | None:
        """The institution, or else the station that made the image."""
        return self.institution or self.station


def read_header(path: str | Path) -> Header:
    """Read a DICOM file's header; its pixels are not touched.

    Args:
        path: a DICOM file, with or without preamble.

    Returns:
        The header; values that are not there, or cannot be read, are None.

    Raises:
        ImageError: missing, not DICOM, or a header that cannot be parsed.
    """
    path = Path(path)
    with parsed(path, _KEYWORDS) as file:
        elements = file.elements
        return Header(
            path=path,
            sop_class_uid=elements.label("SOPClassUID")
            or file.meta.label("MediaStorageSOPClassUID"),
            sop_uid=elements.label("SOPInstanceUID"),
            study_uid=elements.label("StudyInstanceUID"),
            series_uid=elements.label("SeriesInstanceUID"),
            patient_id=elements.label("PatientID"),
            sex=elements.label("PatientSex"),
            age_years=_age(elements),
            modality=elements.label("Modality"),
            body_part=elements.label("BodyPartExamined"),
            manufacturer=elements.label("Manufacturer"),
            model=elements.label("ManufacturerModelName"),
            institution=elements.label("InstitutionName"),
            station=elements.label("StationName"),
            rows=_integer(elements, "Rows"),
            columns=_integer(elements, "Columns"),
            frames=_integer(elements, "NumberOfFrames") or 1,
            transfer_syntax_uid=str(file.syntax),
            has_pixels=file.pixels_at is not None,
            no_image=no_patient_image(elements, file.meta),
        )


def _integer(elements: Elements, keyword: str) -> int | None:
    try:
        return elements.integer(keyword)
    except ElementError:
        return None


def _age(elements: Elements) -> float | None:
    """Years by PatientAge, such as 009M, or from birth to study where both dates are known."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", elements.label("PatientAge") or "")
    if stated:
        return _possible(int(stated[1]) / _AGE_UNITS[stated[2]])
    born, studied = (_day(elements.label(keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or studied is None or studied < born:
        return None
    return _possible((studied - born).days / 365.25)


def _possible(years: float) -> float | None:
    """Nobody's age is none: 999Y and births in 1800 stand for what is not known."""
    return years if years <= OLDEST_YEARS else None


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None
