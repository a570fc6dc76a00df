"""Documents: frozen models with strict fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from medlego.support.values import ShortRepr


class FrozenModel(ShortRepr, BaseModel):
    """A pydantic model that nobody changes and that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
