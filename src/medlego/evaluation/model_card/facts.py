"""What no file can know of a model and a person has to say: the facts file of a model card.

Tables and keys follow CHAI's Applied Model Card, schema v0.2 (mc.chai.org). Every key may be left
out; the card then says that it is not stated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from medlego.errors import SettingsError
from medlego.support import is_plain, load_toml

NOT_STATED = "not stated"


def _lines(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if not is_plain(value.replace("\n", "")):
            raise ValueError("expected text without control characters other than line breaks")
    return value


Said = Annotated[str, BeforeValidator(_lines), Field(min_length=1, max_length=10_000)] | None
"""Markdown of one or more lines."""
Word = Annotated[str, BeforeValidator(_lines), Field(pattern=r"^[^\n]{1,200}$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Release(_Table):
    """Where the model stands."""

    stage: Said = None
    date: Said = None
    version: Said = None
    availability: Said = None
    regulatory_approval: Said = None


class Uses(_Table):
    """Uses and directions."""

    intended_use: Said = None
    users: Said = None
    how_to_use: Said = None
    population: Said = None
    out_of_scope: Said = None


class Warnings(_Table):
    """What can go wrong."""

    risks: Said = None
    biases: Said = None
    risk_level: Said = None


class TrustFacts(_Table):
    """Trust ingredients that the files do not tell."""

    input_source: Said = None
    development_data: Said = None
    bias_mitigation: Said = None
    maintenance: Said = None
    security: Said = None
    transparency: Said = None
    funding: Said = None
    third_party: Said = None
    stakeholders: Said = None


class MetricsFacts(_Table):
    """How to read the numbers: goal, interpretation, test type, data, justification."""

    usefulness: Said = None
    fairness: Said = None
    safety: Said = None


class Resources(_Table):
    """Where to read on."""

    references: Said = None
    clinical_trial: Said = None
    publications: Said = None
    reimbursement: Said = None
    consent: Said = None


class Facts(_Table):
    """A facts file: TOML, read by `Facts.load`."""

    name: Word | None = None
    developer: Said = None
    contact: Said = None
    summary: Said = None
    keywords: tuple[Word, ...] = ()
    base_model: Annotated[str, Field(pattern=r"^[\w.-]{1,96}/[\w.-]{1,96}$")] | None = None
    """The base's repository on the Hugging Face hub."""
    datasets: tuple[Annotated[str, Field(pattern=r"^[\w./-]{1,200}$")], ...] = ()
    """The training data's repositories there."""
    data_licence: Said = None
    release: Release = Release()
    uses: Uses = Uses()
    warnings: Warnings = Warnings()
    trust: TrustFacts = TrustFacts()
    metrics: MetricsFacts = MetricsFacts()
    resources: Resources = Resources()

    @classmethod
    def load(cls, path: str | Path) -> Facts:
        """Read a TOML file.

        Raises:
            SettingsError: no such file, not TOML, or keys that are unknown or wrong, all together.
        """
        return load_toml(cls, path, SettingsError, "facts")
