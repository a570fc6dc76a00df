"""Labels and statements as codes: a terminology's where the task names one, else medlego's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from medlego.data import Task

SCHEME = "99MEDLEGO"
"""Private by its 99 (DICOM PS3.3 section 8.2); every object that uses it declares it."""

_MEANING = 64
_SCHEMES: dict[str, dict[str, Any]] = {
    SCHEME: {"name": "Labels and statements of medlego", "responsible_organization": "medlego"},
    "SCT": {"name": "SNOMED CT", "registry": "HL7", "uid": "2.16.840.1.113883.6.96"},
    "RADLEX": {"name": "RadLex", "registry": "HL7", "uid": "2.16.840.1.113883.6.256"},
    "LN": {"name": "LOINC", "registry": "HL7", "uid": "2.16.840.1.113883.6.1"},
}
_STANDARD = frozenset({"DCM", "UCUM"})


def own_code(value: str, meaning: str) -> CodedConcept:
    """An entry of medlego's own scheme."""
    return CodedConcept(value, SCHEME, short(meaning))


def label_code(task: Task, label: str) -> CodedConcept:
    """A label's code in its terminology; without one an own code that follows from its names."""
    code = None if task.codes is None else task.codes[task.labels.index(label)]
    if code is not None:
        return CodedConcept(code.value, code.scheme, short(code.meaning))
    name = f"{task.name}\0{label}".encode()
    return own_code(hashlib.sha256(name).hexdigest()[:16], label)


def declared(schemes: Iterable[str]) -> list[CodingSchemeIdentificationItem]:
    """Identify these coding schemes; the standard's own need no identification."""
    return [
        CodingSchemeIdentificationItem(scheme, **_SCHEMES.get(scheme, {}))
        for scheme in sorted({SCHEME, *schemes} - _STANDARD)
    ]


def short(text: str) -> str:
    """Text as a value of at most 64 characters; a backslash would split it in two."""
    text = text.replace("\\", "/").strip()
    return text if len(text) <= _MEANING else text[: _MEANING - 3] + "..."
