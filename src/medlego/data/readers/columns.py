"""Which column of a table is which: by the usual names in any spelling, or as somebody says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medlego.support import ShortRepr

GROUP_PREFIX = "group_"
LABEL_PREFIX = "label_"
"""Columns of a multilabel task: `label_effusion`, …, with 1, 0 or nothing (unknown)."""

KEYS = ("sop_instance_uid", "series_instance_uid", "study_instance_uid")
"""Columns that name DICOM images by their headers, the most exact first."""

USUAL = ("path", "label", "patient_id", "split", "site", *KEYS)


@dataclass(frozen=True, repr=False)
class Columns(ShortRepr):
    """Names of a table's columns where they are not the usual ones.

    Several `label` columns are those of a multilabel task.
    """

    path: str | None = None
    label: tuple[str, ...] = ()
    patient: str | None = None
    split: str | None = None

    def rename(self, header: Sequence[str]) -> dict[str, str]:
        """The columns that are read, by their names in the file: what they are called from here.

        Raises:
            ValueError: a column that the file lacks, or several that mean the same.
        """
        stated = {"path": self.path, "patient_id": self.patient, "split": self.split}
        wanted = {name: found for name, found in stated.items() if found is not None}
        if len(self.label) == 1:
            wanted["label"] = self.label[0]
        wanted |= {LABEL_PREFIX + name: name for name in self.label if len(self.label) > 1}
        renamed = {_find(header, text): name for name, text in wanted.items()}
        for text in header:
            name = usual_name(text)
            if name is None or name in wanted or text in renamed:
                continue
            if self.label and (name == "label" or name.startswith(LABEL_PREFIX)):
                continue
            renamed[text] = name
        names = list(renamed.values())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            one = [text for text, name in renamed.items() if name == twice[0]]
            raise ValueError(f"columns {', '.join(one)}: expected one of them, as {twice[0]}")
        return renamed


def usual_name(text: str) -> str | None:
    """The name that a column goes by, for example `patient_id` for `PatientID`; None for others."""
    plain = _plain(text)
    for name in USUAL:
        if plain == _plain(name):
            return name
    for prefix in (LABEL_PREFIX, GROUP_PREFIX):
        if text.casefold().startswith(prefix) and len(text) > len(prefix):
            return prefix + text[len(prefix) :]
    return None


def _find(header: Iterable[str], text: str) -> str:
    names = list(header)
    if text in names:
        return text
    alike = [name for name in names if _plain(name) == _plain(text)]
    if len(alike) != 1:
        known = ", ".join(name[:60] for name in names[:20]) or "none"
        raise ValueError(f"column {text[:60]!r}: expected it in the header, got {known}")
    return alike[0]


def _plain(text: str) -> str:
    return re.sub(r"[\s_.-]", "", text.casefold())
