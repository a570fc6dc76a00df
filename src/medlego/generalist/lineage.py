"""The chain of edits that led to a generalist: append-only, each entry sealed by the next.

Entries are numbered from 0. Edits form a tree: an edit's parent is the state that it was made in,
and undo and redo move along it without taking an entry away.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
)

from medlego.base import Digest
from medlego.data import Plain
from medlego.errors import GeneralistError
from medlego.merge import Provider, Recipe
from medlego.support import FrozenModel, ShortRepr, left_out, read_fields

if TYPE_CHECKING:
    from medlego.bricks import Signer

Action = Literal["assemble", "head-round", "add", "remove", "update", "undo", "redo"]
MOVES: tuple[Action, ...] = ("undo", "redo")
"""Actions that lead to the state of an earlier entry."""

COEFFICIENTS = "coefficients"
"""Stale: coefficients that a search chose for other bricks."""


def stale_head(task: str) -> str:
    """Stale: a head that a head round fitted to another merge."""
    return f"head {task}"


class Entry(FrozenModel):
    """One entry of a lineage: what was done, by whom, and the recipe that it led to."""

    action: Action
    recipe: Digest
    previous: Digest | None
    """Of the entry before it, signature and all; None for the first."""
    when: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")] | None = None
    """UTC, by the clock of whoever did it."""
    by: Annotated[Plain, Field(min_length=1, max_length=200)] | None = None
    added: tuple[Digest, ...] = ()
    removed: tuple[Digest, ...] = ()
    withdrawn: bool = False
    """Whether what was removed was deleted for good."""
    to: Annotated[int, Field(ge=0)] | None = None
    """Number of the entry whose state an undo or redo went to."""
    stale: tuple[Plain, ...] = ()
    """What was chosen or fitted for another merge and should be made anew."""
    gate: dict[str, Any] | None = None
    """What the checks before the edit found."""
    signature: dict[str, str] | None = None
    """`key`, the id of an Ed25519 key, and `value`, base64, over `unsigned`."""
    provider: Provider | None = None
    """The package of the recipe's merge method; left out of the JSON where it is built in."""

    @field_validator("when")
    @classmethod
    def _a_time(cls, text: str | None) -> str | None:
        if text is not None:
            datetime.fromisoformat(text)
        return text

    _sparse = left_out(provider=None)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole entry, spelled."""
        return hashlib.sha256(self.spelled()).hexdigest()

    @property
    def unsigned(self) -> bytes:
        """What a signature is made over: the entry without it, spelled."""
        return self.spelled("signature")


Lineage = tuple[Entry, ...]


@dataclass(frozen=True, repr=False)
class Stamp(ShortRepr):
    """When and by whom an edit is made; nothing is filled in unasked, so results repeat."""

    when: str | None = None
    by: str | None = None
    signer: Signer | None = None

    @classmethod
    def now(cls, by: str | None = None, signer: Signer | None = None) -> Stamp:
        """The present time, to the second."""
        return cls(utc_now(), by, signer)


def utc_now() -> str:
    """The present time in UTC, as an entry states it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def append_entry(
    lineage: Lineage, action: Action, recipe: Recipe, stamp: Stamp, **more: Any
) -> Lineage:
    """The lineage with one more entry, linked to the last, and signed where the stamp has a key.

    Raises:
        GeneralistError: a stamp that an entry cannot hold.
    """
    more |= {"action": action, "recipe": recipe.digest, "provider": recipe.provider}
    return _with_entry(lineage, stamp, more)


def _with_entry(lineage: Lineage, stamp: Stamp, fields: Mapping[str, Any]) -> Lineage:
    previous = lineage[-1].digest if lineage else None
    fields = {**fields, "previous": previous, "when": stamp.when, "by": stamp.by}
    entry = read_fields(Entry, fields, name="entry", error=GeneralistError)
    if stamp.signer is not None:
        value = base64.b64encode(stamp.signer.sign(entry.unsigned)).decode()
        signature = {"key": stamp.signer.id, "value": value}
        entry = entry.model_copy(update={"signature": signature})
    return (*lineage, entry)


def with_gate(lineage: Lineage, gate: dict[str, Any], stamp: Stamp) -> Lineage:
    """The lineage with what checks found written into its last entry, which is signed anew."""
    last = lineage[-1]
    fields = last.model_dump(exclude={"previous", "when", "by", "signature"})
    return _with_entry(lineage[:-1], stamp, {**fields, "gate": gate})


def chain_problems(lineage: Sequence[Entry]) -> list[str]:
    """Where a lineage was changed, cut at its start, or an entry is missing.

    Entries cut off its end leave a sound chain: only its last digest, kept elsewhere, shows that.
    """
    problems = []
    before: str | None = None
    for number, entry in enumerate(lineage):
        if entry.previous != before:
            problems.append(
                f"lineage.{number}: expected to follow {_short(before)}, got "
                f"{_short(entry.previous)}; an entry was changed or is missing"
            )
            break
        if (entry.action in MOVES) != (entry.to is not None):
            problems.append(f"lineage.{number}.to: expected with undo and redo, and only there")
        elif entry.to is not None and not entry.to < number:
            problems.append(f"lineage.{number}.to: expected an earlier entry, got {entry.to}")
        elif entry.to is not None and lineage[entry.to].recipe != entry.recipe:
            problems.append(f"lineage.{number}.recipe: expected that of entry {entry.to}")
        before = entry.digest
    return problems


def state(lineage: Lineage, number: int = -1) -> int:
    """The edit whose state an entry led to, by default the last: its own, or an earlier one's."""
    number %= len(lineage)
    while (to := lineage[number].to) is not None:
        number = to
    return number


def parent(lineage: Lineage, edit: int) -> int | None:
    """The state that an edit was made in; None for the first."""
    return state(lineage, edit - 1) if edit else None


def undone(lineage: Lineage, to: int | None = None) -> int:
    """Where an undo leads: one edit back, or to the edit of a number.

    Raises:
        GeneralistError: nothing to undo, or no such entry.
    """
    if to is not None:
        return _numbered(lineage, "undo", to)
    before = parent(lineage, state(lineage))
    if before is None:
        raise GeneralistError("undo: expected an edit, got the first state; nothing to undo")
    return before


def redone(lineage: Lineage, to: int | None = None) -> int:
    """Where a redo leads: to the edit made in this state that was last undone, or to one by number.

    Raises:
        GeneralistError: nothing to redo, or no such entry.
    """
    if to is not None:
        return _numbered(lineage, "redo", to)
    here = state(lineage)
    for number in reversed(range(len(lineage))):
        edit: int | None = state(lineage, number)
        while edit is not None and (before := parent(lineage, edit)) != here:
            edit = before
        if edit is not None:
            return edit
    raise GeneralistError("redo: expected an edit that was undone, got none; nothing to redo")


def withdrawn(lineage: Lineage) -> dict[str, int]:
    """Digests of bricks deleted for good and not added again, each with its entry's number."""
    numbers: dict[str, int] = {}
    for number, entry in enumerate(lineage):
        for digest in entry.added:
            numbers.pop(digest, None)
        if entry.withdrawn:
            numbers |= dict.fromkeys(entry.removed, number)
    return numbers


def _numbered(lineage: Lineage, action: str, to: int) -> int:
    if not 0 <= to < len(lineage):
        raise GeneralistError(
            f"{action}: expected an entry from 0 to {len(lineage) - 1}, got {to}; see edit log"
        )
    return state(lineage, to)


def _short(digest: str | None) -> str:
    return "nothing" if digest is None else f"{digest[:12]}…"
