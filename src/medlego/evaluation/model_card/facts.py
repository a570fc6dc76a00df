"""What no file can know of a model and a person has to say: the facts file of a model card.

Tables and keys follow CHAI's Applied Model Card, schema v0.2 (mc.chai.org). Every key may be left
out; the card then says that it is not stated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from medlego.errors import SettingsError
from medlego.support import FrozenModel, is_plain, load_toml


def _lines(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if not is_plain(value.replace("\n", "")):
            raise ValueError("expected text without control characters other than line breaks")
    return value


Statement = Annotated[str, BeforeValidator(_lines), Field(min_length=1, max_length=10_000)] | None
"""Markdown of one or more lines."""
Line = Annotated[str, BeforeValidator(_lines), Field(pattern=r"^[^\n]{1,200}$")]


class Release(FrozenModel):
    """Where the model stands."""

    stage: Statement = None
    date: Statement = None
    version: Statement = None
    availability: Statement = None
    regulatory_approval: Statement = None


class Uses(FrozenModel):
    """Uses and directions."""

    intended_use: Statement = None
    users: Statement = None
    how_to_use: Statement = None
    population: Statement = None
    out_of_scope: Statement = None


class Warnings(FrozenModel):
    """What can go wrong."""

    risks: Statement = None
    biases: Statement = None
    risk_level: Statement = None


class TrustFacts(FrozenModel):
    """Trust ingredients that the files do not tell."""

    input_source: Statement = None
    development_data: Statement = None
    bias_mitigation: Statement = None
    maintenance: Statement = None
    security: Statement = None
    transparency: Statement = None
    funding: Statement = None
    third_party: Statement = None
    stakeholders: Statement = None


class MetricsFacts(FrozenModel):
    """How to read the numbers: goal, interpretation, test type, data, justification."""

    usefulness: Statement = None
    fairness: Statement = None
    safety: Statement = None


class Resources(FrozenModel):
    """Where to read on."""

    references: Statement = None
    clinical_trial: Statement = None
    publications: Statement = None
    reimbursement: Statement = None
    consent: Statement = None


class Facts(FrozenModel):
    """A facts file: TOML, read by `Facts.load`."""

    name: Line | None = None
    developer: Statement = None
    contact: Statement = None
    summary: Statement = None
    keywords: tuple[Line, ...] = ()
    base_model: Annotated[str, Field(pattern=r"^[\w.-]{1,96}/[\w.-]{1,96}$")] | None = None
    """The base's repository on the Hugging Face hub."""
    datasets: tuple[Annotated[str, Field(pattern=r"^[\w./-]{1,200}$")], ...] = ()
    """The training data's repositories there."""
    data_licence: Statement = None
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
