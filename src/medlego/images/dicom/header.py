"""What a DICOM file says of itself, without its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from medlego.errors import ImageError, raise_all
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
        The header; values that are not there are None.

    Raises:
        ImageError: missing, not DICOM, or a header that cannot be parsed.
    """
    path = Path(path)
    with parsed(path, _KEYWORDS) as file:
        reader = _Reader(file.elements)
        header = Header(
            path=path,
            sop_class_uid=reader.text("SOPClassUID") or file.meta.text("MediaStorageSOPClassUID"),
            sop_uid=reader.text("SOPInstanceUID"),
            study_uid=reader.text("StudyInstanceUID"),
            series_uid=reader.text("SeriesInstanceUID"),
            patient_id=reader.text("PatientID"),
            sex=reader.text("PatientSex"),
            age_years=_age(reader),
            modality=reader.text("Modality"),
            body_part=reader.text("BodyPartExamined"),
            manufacturer=reader.text("Manufacturer"),
            model=reader.text("ManufacturerModelName"),
            institution=reader.text("InstitutionName"),
            station=reader.text("StationName"),
            rows=reader.integer("Rows"),
            columns=reader.integer("Columns"),
            frames=reader.integer("NumberOfFrames") or 1,
            transfer_syntax_uid=str(file.syntax),
            has_pixels=file.pixels_at is not None,
            no_image=no_patient_image(file.elements, file.meta),
        )
    raise_all(ImageError, str(path), reader.problems)
    return header


class _Reader:
    """Values of elements, with what is wrong with them collected."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self.problems: list[str] = []

    def text(self, keyword: str) -> str | None:
        try:
            return self._elements.text(keyword)
        except ElementError as error:
            self.problems.append(str(error))
            return None

    def integer(self, keyword: str) -> int | None:
        try:
            return self._elements.integer(keyword)
        except ElementError as error:
            self.problems.append(str(error))
            return None


def _age(reader: _Reader) -> float | None:
    """Years by PatientAge, such as 009M, or from birth to study where both dates are known."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", reader.text("PatientAge") or "")
    if stated:
        return _possible(int(stated[1]) / _AGE_UNITS[stated[2]])
    born, studied = (_day(reader.text(keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
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
