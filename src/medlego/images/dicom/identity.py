"""Whose image a DICOM file is, for a person who checks that it is the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.parsing import parsed
from medlego.support import is_unseen

_LABELS = {
    "PatientName": "patient",
    "PatientID": "patient ID",
    "PatientBirthDate": "born",
    "PatientSex": "sex",
    "StudyDescription": "study",
    "StudyDate": "study date",
    "AccessionNumber": "accession number",
}
_LONGEST = 200
"""Characters shown of an element; the standard allows 64 in most."""


def read_identity(path: str | Path) -> dict[str, str]:
    """Read patient and study from a DICOM file's header, to be shown and never kept.

    Args:
        path: a DICOM file.

    Returns:
        Values by what they are, of those that are there, all of several; characters that nobody
        sees are `�`.

    Raises:
        ImageError: missing, not DICOM, or a header that cannot be parsed.
    """
    with parsed(Path(path), tuple(_LABELS)) as file:
        read = {keyword: _texts(file.elements, keyword) for keyword in _LABELS}
    shown = {label: _shown(keyword, read[keyword]) for keyword, label in _LABELS.items()}
    return {label: value for label, value in shown.items() if value}


def _texts(elements: Elements, keyword: str) -> list[str]:
    try:
        return elements.texts(keyword)
    except ElementError:
        return []


def _shown(keyword: str, values: Sequence[str]) -> str:
    texts = [text for value in values if (text := _readable(keyword, value))]
    seen = "; ".join(texts)
    seen = seen if len(seen) <= _LONGEST else f"{seen[:_LONGEST]}…"
    return f"{seen} ({len(texts)} values)" if len(texts) > 1 else seen


def _readable(keyword: str, value: str) -> str:
    if keyword.endswith("Name"):  # family^given^… in up to three alphabets
        groups = (filter(None, map(str.strip, group.split("^"))) for group in value.split("="))
        value = " / ".join(filter(None, map(", ".join, groups)))
    if keyword.endswith("Date"):
        value = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", value)
    return "".join("�" if is_unseen(character) else character for character in value)
