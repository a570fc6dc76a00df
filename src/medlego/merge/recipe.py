"""What rebuilds a generalist."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import (
    Field,
)

from medlego.base import Digest
from medlego.errors import MergeError
from medlego.merge.method import Provider
from medlego.merge.sites import Sites
from medlego.support import FrozenModel, left_out

GIVEN = "given"
SEARCHED = "search"
"""Words for coefficients that were told, and for such as have seen data."""

Mode = Literal["merged", "grouped", "routed"]
"""How a generalist works: all bricks merged into one model; those of a group merged, and images
sent to their group; or every image sent to its own task's bricks, which stay whole."""
MODES: tuple[Mode, ...] = get_args(Mode)


def as_mode(text: str) -> Mode:
    """The word as one of `MODES`.

    Raises:
        MergeError: another word.
    """
    for word in MODES:
        if word == text:
            return word
    raise MergeError(f"mode: expected one of {', '.join(MODES)}, got {text!r}")


class Ingredient(FrozenModel):
    """One brick of a recipe, by digest, with its coefficient."""

    task: str
    digest: Digest
    coefficient: Annotated[float, Field(allow_inf_nan=False)]
    head: Digest | None = None
    """Of a head refitted to this merge, where there is one; else the brick's own is read."""


class Recipe(FrozenModel):
    """What rebuilds a generalist: bricks in order, coefficients, method and settings.

    `settings` holds all of the method's, defaults included; `svc` says that singular values were
    calibrated after the merge, `slope` how much later blocks weigh more, and `slope_given` that
    somebody chose so. `coefficients` is the rule that gave them, `SEARCHED`, or `GIVEN`; `number`
    is the one that every task was given or a search chose, None where each brick has its own.
    Several bricks of one task are its sites; `sites` says how they weigh, and a head refitted to
    the task stands at each of them. `mode` is left out of the JSON where it is
    `merged`, `provider`, the package of a method from outside, where the method is built in.
    """

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
    mode: Mode = "merged"
    provider: Provider | None = None

    _sparse = left_out(mode="merged", provider=None)

    @property
    def model(self) -> str:
        """Digest of the recipe without refitted heads and mode: of the merged features."""
        plain = tuple(item.model_copy(update={"head": None}) for item in self.bricks)
        return self.model_copy(update={"bricks": plain, "mode": "merged"}).digest

    def coefficients_argument(self, digests: Sequence[str]) -> str | float | list[float]:
        """The argument of `assemble` that gave the coefficients, for these of its bricks.

        The rule, the one number of every task, or one number per brick.
        """
        if self.coefficients not in (GIVEN, SEARCHED):
            return self.coefficients
        if self.number is not None:
            return self.number
        numbers = {item.digest: item.coefficient for item in self.bricks}
        return [numbers[digest] for digest in digests]

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's JSON, spelled; a generalist's identity."""
        return hashlib.sha256(self.spelled()).hexdigest()
