"""What a DICOM object is, by what it says of itself: an image of a patient, or something else."""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.multival import MultiValue
from pydicom.uid import UID_dictionary

from medlego.images.dicom.elements import ElementError, Elements

OBJECT_KEYWORDS = ("SOPClassUID", "Modality", "ImageType")

_CLASSES = (
    ("Segmentation", "a segmentation"),
    ("RT Dose", "a dose map"),
    ("(Parametric|Thickness|Topography) Map", "a parametric map"),
    ("Presentation State", "a presentation state"),
    ("Key Object", "a selection of key objects"),
    (r"\bSR\b|Radiation Dose|Report|Procedure Log|Chart", "a report"),
    ("Encapsulated", "a document"),
    ("Raw Data|Real World Value|Spectroscopy", "raw data"),
    ("Registration|Fiducials", "a registration"),
    ("Whole Slide|Tiled", "a tile of a whole slide"),
    ("Waveform|ECG", "a waveform"),
    ("RT .*(Plan|Structure|Record|Instruction|Radiation|Prescription)|Beams", "a treatment plan"),
    ("Tractography|Surface|Mesh|Volume Rendering", "a model"),
    ("Directory", "a directory"),
)
"""Parts of the names of SOP classes."""
_LATER_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.7": "a segmentation"}
"""Classes that pydicom's dictionary does not know yet."""
_MODALITIES = {
    "SEG": "a segmentation",
    "RTDOSE": "a dose map",
    "RTSTRUCT": "contours",
    "RTPLAN": "a plan",
    "RTRECORD": "a treatment record",
    "PR": "a presentation state",
    "KO": "a selection of key objects",
    "SR": "a report",
    "DOC": "a document",
    "REG": "a registration",
    "FID": "fiducials",
    "ECG": "a waveform",
    "AU": "a recording",
    "PLAN": "a plan",
    "SM": "a tile of a whole slide",
}
_IMAGE_TYPES = {
    "LOCALIZER": "a localizer",
    "SCOUT": "a localizer",
    "TOPOGRAM": "a localizer",
    "SCREENSAVE": "a screen save",
    "SCREENSHOT": "a screen save",
    "SCREENCAPTURE": "a screen save",
    "DOSEINFO": "a dose report",
    "DOSEREPORT": "a dose report",
}


def no_patient_image(elements: Elements, meta: Elements) -> str | None:
    """What an object is instead of an image of a patient; None for such an image.

    Its SOP class decides, then its modality, then its image type (PS3.3 section C.7.6.1.1.2).

    Args:
        elements: those of `OBJECT_KEYWORDS`.
        meta: the file's meta information.
    """
    name = elements.label("SOPClassUID") or meta.label("MediaStorageSOPClassUID")
    if kind := _of_class(name or ""):
        return kind
    if kind := _MODALITIES.get((elements.label("Modality") or "").upper()):
        return kind
    try:
        values = elements.value("ImageType")
    except ElementError:
        return None
    for value in values if isinstance(values, MultiValue) else [values]:
        text = value.upper() if isinstance(value, str) else ""
        if kind := _IMAGE_TYPES.get(re.sub(r"[^A-Z]", "", text)):
            return kind
    return None


@lru_cache
def _of_class(name: str) -> str | None:
    title = UID_dictionary.get(name, ("",))[0]
    kinds = (kind for pattern, kind in _CLASSES if re.search(pattern, title))
    return _LATER_CLASSES.get(name) or next(kinds, None)
