"""Which images of an archive are answered: a TOML file that people write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from medlego.data import Text
from medlego.errors import SettingsError
from medlego.support import FrozenModel, load_toml

Modality = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,16}$")]
Texts = tuple[Text, ...]


class Rule(FrozenModel):
    """Every field present must fit; a field fits where any of its values does.

    Descriptions and body parts are patterns with `*` and `?`; case is ignored.
    """

    modality: Annotated[tuple[Modality, ...], Field(min_length=1)]
    """Such as `DX`, without patterns."""
    body_part: Texts = ()
    """Patterns of Body Part Examined."""
    study_description: Texts = ()
    """Patterns."""
    series_description: Texts = ()
    """Patterns."""
    within_days: Annotated[int, Field(ge=0, le=36_500)] = 7
    """Only studies of the last days, by their date; 0 means no limit."""

    @classmethod
    def load(cls, path: str | Path) -> Rule:
        """Read a rule.

        Raises:
            SettingsError: no such file, not TOML, or wrong fields, all together.
        """
        return load_toml(cls, path, SettingsError, "a rule")

    @property
    def digest(self) -> str:
        """SHA-256 of the fields, by which a journal knows which rule did not fit."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def since(self, today: date) -> date | None:
        """The first study date that is considered."""
        return today - timedelta(days=self.within_days) if self.within_days else None

    def fits(self, attributes: Mapping[str, str]) -> bool:
        """Whether an image with these attributes, by DICOM keyword, is to be answered."""
        return all(_matches(attributes.get(key), patterns) for key, patterns in self._patterns())

    def rules_out(self, attributes: Mapping[str, str]) -> bool:
        """Whether the attributes known so far, perhaps not all, are enough to say no."""
        return any(
            key in attributes and not _matches(attributes[key], patterns)
            for key, patterns in self._patterns()
        )

    def _patterns(self) -> Iterator[tuple[str, Texts]]:
        fields = {
            "Modality": self.modality,
            "BodyPartExamined": self.body_part,
            "StudyDescription": self.study_description,
            "SeriesDescription": self.series_description,
        }
        return ((keyword, patterns) for keyword, patterns in fields.items() if patterns)


def _matches(value: str | None, patterns: Texts) -> bool:
    text = (value or "").casefold()
    return any(fnmatchcase(text, pattern.casefold().replace("[", "[[]")) for pattern in patterns)
