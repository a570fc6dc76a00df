"""What a classifier answers: the kind of question, its labels and their codes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from medlego.data.kinds import find_kind
from medlego.data.kinds.kind import Kind
from medlego.support import FrozenModel, is_plain

MAX_LABELS = 10_000
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _plain(value: Any) -> Any:
    if isinstance(value, str) and not is_plain(value):
        raise ValueError(
            "expected text without control characters and surrogates, "
            f"got {value!a:.60}; take them out"
        )
    return value


Plain = Annotated[str, BeforeValidator(_plain)]
"""Text that a terminal, a log and a table show as it is."""
Text = Annotated[Plain, Field(min_length=1, max_length=200)]


class Code(FrozenModel, strict=True):
    """A label's entry in a terminology, as DICOM writes it (value, scheme, meaning)."""

    scheme: Annotated[Plain, Field(min_length=1, max_length=16)]
    """Coding scheme designator, for example SCT or RADLEX."""
    value: Annotated[Plain, Field(min_length=1, max_length=64)]
    meaning: Text


class Task(FrozenModel):
    """One diagnostic question, frozen.

    `kind` is a name of `KINDS`, `modality` a DICOM modality code (MR, US, DX, CT, DMS for
    dermoscopy, SM for slide microscopy, …), `body_part` a DICOM body part examined (BRAIN, BREAST,
    CHEST, …); both may be unknown.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    kind: Annotated[str, AfterValidator(lambda name: find_kind(name).name)]
    labels: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_LABELS)]
    codes: tuple[Code | None, ...] | None = None
    modality: Annotated[str, Field(pattern=r"^[A-Z]{2,8}$")] | None = None
    body_part: Annotated[str, Field(pattern=r"^[A-Z][A-Z_ ]{0,31}$")] | None = None

    @model_validator(mode="after")
    def _labels_fit_kind(self) -> Task:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected each label once; rename the repeated one")
        count = len(self.labels)
        if not self.rules.fits:
            raise ValueError(
                f"labels: expected {self.rules.size} for a {self.kind} task, got {count}"
            )
        if self.codes is not None and len(self.codes) != count:
            raise ValueError(f"codes: expected one per label ({count}), got {len(self.codes)}")
        return self

    @property
    def rules(self) -> Kind:
        """What the task's kind decides, for its number of labels."""
        return find_kind(self.kind)(len(self.labels))

    @property
    def positive(self) -> str | None:
        """The one label of which sensitivity and specificity speak; None of other kinds."""
        place = self.rules.positive
        return None if place is None else self.labels[place]

    @property
    def head_shape(self) -> tuple[int, int]:
        """Rows of the head's weight and length of its bias."""
        return self.rules.head_shape


def as_task_name(text: str) -> str:
    """Turn a file's stem or any text into a valid task name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return name or "task"
