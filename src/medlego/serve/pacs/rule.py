"""Which images of an archive are answered: a TOML file that people write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from medlego.data import Text
from medlego.errors import SettingsError
from medlego.support import load_toml

Modality = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,16}$")]
Texts = tuple[Text, ...]


class Rule(BaseModel):
    """All fields that are given must fit; of several values of one field any will do.

    Descriptions and body parts are patterns with `*` and `?`, in which case does not count.
    `within_days` looks at studies of the last days only, by their date; 0 at all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Annotated[tuple[Modality, ...], Field(min_length=1)]
    body_part: Texts = ()
    study_description: Texts = ()
    series_description: Texts = ()
    within_days: Annotated[int, Field(ge=0, le=36_500)] = 7

    @classmethod
    def load(cls, path: str | Path) -> Rule:
        """Read a rule.

        Raises:
            SettingsError: no such file, not TOML, or wrong fields, all together.
        """
        return load_toml(cls, path, SettingsError, "a rule")

    @property
    def digest(self) -> str:
        """SHA-256 of the fields, by which a journal knows what was looked at with this rule."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def since(self, today: date) -> date | None:
        """The first day that is looked at."""
        return today - timedelta(days=self.within_days) if self.within_days else None

    def fits(self, stated: Mapping[str, str]) -> bool:
        """Whether an image that states these elements is to be answered."""
        return all(_matches(stated.get(keyword), wanted) for keyword, wanted in self._wanted())

    def rules_out(self, stated: Mapping[str, str]) -> bool:
        """Whether what is stated so far, perhaps not all, is enough to say no."""
        return any(
            keyword in stated and not _matches(stated[keyword], wanted)
            for keyword, wanted in self._wanted()
        )

    def _wanted(self) -> Iterator[tuple[str, Texts]]:
        fields = {
            "Modality": self.modality,
            "BodyPartExamined": self.body_part,
            "StudyDescription": self.study_description,
            "SeriesDescription": self.series_description,
        }
        return ((keyword, wanted) for keyword, wanted in fields.items() if wanted)


def _matches(value: str | None, patterns: Texts) -> bool:
    text = (value or "").casefold()
    return any(fnmatchcase(text, pattern.casefold().replace("[", "[[]")) for pattern in patterns)
