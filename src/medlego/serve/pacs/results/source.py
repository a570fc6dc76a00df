"""What results copy from their image, so that the archive files them correctly.

This is the one module through which patient data passes: into the result, nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from medlego.errors import ImageError, raise_all
from medlego.images import ElementError, parsed

_REQUIRED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY_REQUIRED = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_OTHER = (
    "Laterality",
    "ImageLaterality",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "Manufacturer",
    "ManufacturerModelName",
    "LossyImageCompression",
    "BurnedInAnnotation",
)
_OFFSET = "TimezoneOffsetFromUTC"
_OFFSETS = re.compile(r"[+-](0\d|1[0-4])[0-5]\d", re.ASCII)
_NUMBERS = ("NumberOfFrames", "InstanceNumber", "Rows", "Columns")
_LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Source:
    """One image as results refer to it.

    `copied` has the patient's and the study's elements by keyword, an empty text where a mandatory
    one is not known; it is kept out of `repr`. `attributes` has others that rules and results use.
    `offset` is that of the image's times from UTC, where it states one.
    """

    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str
    frames: int
    number: int
    rows: int
    columns: int
    offset: tzinfo | None
    attributes: Mapping[str, str] = field(repr=False)
    copied: Mapping[str, str] = field(repr=False)

    @property
    def frame(self) -> int | None:
        """The frame that is answered for, from 1: the middle one; None where there is one only."""
        return None if self.frames == 1 else self.frames // 2 + 1

    @property
    def laterality(self) -> str:
        """Of the body part, L or R; empty where the image does not say."""
        side = self.attributes.get("Laterality") or self.attributes.get("ImageLaterality") or ""
        return side if side in ("L", "R") else ""

    def local(self, when: datetime) -> datetime:
        """A moment in the offset of the image's times, so that a result's compare with them."""
        return when if self.offset is None else when.astimezone(self.offset)

    def reference(self) -> Dataset:
        """The image for highdicom: without a patient, and of a class that it knows."""
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, self.sop_uid
        image.StudyInstanceUID, image.SeriesInstanceUID = self.study_uid, self.series_uid
        image.Rows, image.Columns, image.NumberOfFrames = self.rows, self.columns, self.frames
        for keyword in (*_REQUIRED, *_STUDY_REQUIRED):
            setattr(image, keyword, "")
        return image

    def finish(self, result: Dataset, when: datetime) -> None:
        """Date a result and copy patient and study into it, in UTF-8.

        Its moment takes the place of the clock's, so that equal arguments give equal bytes.
        """
        when = self.local(when)
        stamp(result, "Content{}", when)
        stamp(result, "InstanceCreation{}", when)
        for equipment in result.ContributingEquipmentSequence:
            equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
        result.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in self.copied.items():
            setattr(result, keyword, value)
        if self.offset is not None:
            setattr(result, _OFFSET, datetime.now(self.offset).strftime("%z"))


def read_source(path: str | Path) -> Source:
    """Read what results need of a DICOM image; its pixels are not touched.

    Args:
        path: a DICOM file.

    Raises:
        ImageError: missing, not DICOM, or without the UIDs that results refer to.
    """
    path = Path(path)
    keywords = (*_UIDS, *_REQUIRED, *_STUDY_REQUIRED, *_OPTIONAL, *_OTHER, _OFFSET, *_NUMBERS)
    with parsed(path, keywords) as dicom:
        values: dict[str, Any] = dict.fromkeys(keywords)
        problems = []
        for keyword in keywords:
            element = dicom.elements
            try:
                read = element.integer if keyword in _NUMBERS else element.text
                values[keyword] = read(keyword)
            except ElementError as error:
                problems.append(str(error))
        values["SOPClassUID"] = values["SOPClassUID"] or dicom.meta.text("MediaStorageSOPClassUID")
    problems += [
        f"{keyword}: expected a UID, got none or an invalid one; results refer to it"
        for keyword in _UIDS
        if not UID(values[keyword] or "", config.IGNORE).is_valid
    ]
    raise_all(ImageError, str(path), problems)
    return Source(
        sop_class_uid=values["SOPClassUID"],
        sop_uid=values["SOPInstanceUID"],
        study_uid=values["StudyInstanceUID"],
        series_uid=values["SeriesInstanceUID"],
        frames=max(1, values["NumberOfFrames"] or 1),
        number=min(max(1, values["InstanceNumber"] or 1), _LARGEST_NUMBER),
        rows=values["Rows"] or 0,
        columns=values["Columns"] or 0,
        offset=_offset(values[_OFFSET]),
        attributes={key: text for key in (*_OTHER, "StudyDescription") if (text := values[key])},
        copied={key: values[key] or "" for key in (*_REQUIRED, *_STUDY_REQUIRED)}
        | {key: text for key in _OPTIONAL if (text := values[key])},
    )


def stamp(result: Dataset, keywords: str, when: datetime) -> None:
    """Write a date and a time, whose keywords differ by these words."""
    setattr(result, keywords.format("Date"), when.strftime("%Y%m%d"))
    setattr(result, keywords.format("Time"), when.strftime("%H%M%S"))


def _offset(text: str | None) -> tzinfo | None:
    """An offset from UTC (&ZZXX, PS3.3 C.12.1.1.8); None where there is none that can be read."""
    return datetime.strptime(text, "%z").tzinfo if text and _OFFSETS.fullmatch(text) else None
