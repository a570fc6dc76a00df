"""What rebuilds a generalist."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from medlego.base import Digest
from medlego.sites import Sites
from medlego.strictjson import spell

GIVEN = "given"
SEARCHED = "search"
"""Words for coefficients that were told, and for such as have seen data."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Ingredient(BaseModel):
    """One brick of a recipe, by digest, with its coefficient."""

    model_config = _FROZEN

    task: str
    digest: Digest
    coefficient: Annotated[float, Field(allow_inf_nan=False)]
    head: Digest | None = None
    """Of a head refitted to this merge, where there is one; else the brick's own is read."""


class Recipe(BaseModel):
    """What rebuilds a generalist: bricks in order, coefficients, method and settings.

    `settings` holds all of the method's, defaults included; `svc` says that singular values were
    calibrated after the merge, `slope` how much later blocks weigh more, and `slope_given` that
    somebody chose so. `coefficients` is the rule that gave them, `SEARCHED`, or `GIVEN`; `number`
    is the one that every task was given or a search chose, None where each brick has its own.
    Several bricks of one task are its sites; `sites` says how they weigh, and a head refitted to
    the task stands at each of them.
    """

    model_config = _FROZEN

    bricks: Annotated[tuple[Ingredient, ...], Field(min_length=1)]
    method: str
    settings: dict[str, int | float | None]
    svc: bool
    slope: Annotated[float, Field(allow_inf_nan=False)]
    slope_given: bool
    rank: Annotated[int, Field(ge=1)] | None
    coefficients: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    number: Annotated[float, Field(allow_inf_nan=False)] | None
    sites: Sites
    seed: int

    @property
    def model(self) -> str:
        """Digest of the recipe without refitted heads: of the features that heads read."""
        plain = tuple(item.model_copy(update={"head": None}) for item in self.bricks)
        return self.model_copy(update={"bricks": plain}).digest

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's JSON, spelled; a generalist's identity."""
        return hashlib.sha256(spell(self.model_dump(mode="json"))).hexdigest()
