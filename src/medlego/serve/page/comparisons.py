"""Generalists to compare with: earlier states of this one, and others beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medlego.base import Base
from medlego.errors import GeneralistError
from medlego.generalist import Generalist, Lineage, Mark, read_mark, restored
from medlego.serve.reload import Model

KEPT = 2
"""Ready at the same time, each a copy of the base's adapted weights."""


@dataclass(frozen=True)
class Choice:
    """What can be compared with: a key for forms, and words."""

    key: str
    words: str


class Others:
    """Made ready when first asked for, and anew after an edit; the last few asked for stay so."""

    def __init__(self, beside: Mapping[str, Path]) -> None:
        self._beside = beside
        self._ready: dict[tuple[str, str, Mark | None], Model] = {}
        self._lock = asyncio.Lock()

    def choices(self, lineage: Lineage) -> list[Choice]:
        """Other states of a lineage, newest first, then those beside; equal ones once."""
        seen, found = {lineage[-1].recipe}, []
        for number, entry in reversed(list(enumerate(lineage))):
            if entry.recipe not in seen:
                seen.add(entry.recipe)
                words = f"entry {number}: {entry.action}{f', {entry.when}' if entry.when else ''}"
                found.append(Choice(f"entry-{number}", words))
        return found + [Choice(f"beside-{name}", name) for name in self._beside]

    async def model(self, key: str, here: Model) -> Model:
        """A choice's generalist, ready to answer.

        Raises:
            MedLegoError: no such choice, or it cannot be rebuilt or read.
        """
        if key not in {choice.key for choice in self.choices(here.generalist.lineage)}:
            raise GeneralistError("compare: expected one of the page's choices, got another")
        async with self._lock:
            kind, _, name = key.partition("-")
            mark = read_mark(self._beside[name]) if kind == "beside" else None
            wanted = (key, here.digest, mark)
            found = self._ready.pop(wanted, None)
            if found is None:
                found = await asyncio.to_thread(self._make, key, here)
                while len(self._ready) >= KEPT:
                    del self._ready[next(iter(self._ready))]
            self._ready[wanted] = found  # the newest, behind those asked for before
            return found

    def _make(self, key: str, here: Model) -> Model:
        kind, _, name = key.partition("-")
        if kind == "entry":
            lineage = here.generalist.lineage[: int(name) + 1]
            generalist = replace(restored(here.generalist, int(name)), lineage=lineage)
            past = here.generalist.past
        else:
            generalist, past = Generalist.load(self._beside[name]), None
        base = here.base
        if generalist.base != base.ref:
            base = Base.find(generalist.base)
        return Model.of(generalist, base, here.device, past)
