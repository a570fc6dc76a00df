"""Generalists to compare with: earlier states of this one, and others named at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medlego.base import Base
from medlego.errors import GeneralistError
from medlego.generalist import Generalist, Lineage, Mark, read_mark, rebuild_state
from medlego.serve.reload import Model

CACHED = 2
"""Ready at the same time, each a copy of the base's adapted weights."""


class Comparisons:
    """Loaded when first asked for, and anew after an edit; the last few stay loaded."""

    def __init__(self, beside: Mapping[str, Path]) -> None:
        self._beside = beside
        self._ready: dict[tuple[str, str, Mark | None], Model] = {}
        self._lock = asyncio.Lock()

    def choices(self, lineage: Lineage) -> dict[str, str]:
        """Descriptions by key: other states of a lineage, newest first, then those beside."""
        seen, choices = {lineage[-1].recipe}, {}
        for number, entry in reversed(list(enumerate(lineage))):
            if entry.recipe not in seen:
                seen.add(entry.recipe)
                when = f", {entry.when}" if entry.when else ""
                choices[f"entry-{number}"] = f"entry {number}: {entry.action}{when}"
        return choices | {f"beside-{name}": name for name in self._beside}

    async def model(self, key: str, here: Model) -> Model:
        """A choice's generalist, ready to answer.

        Raises:
            MedLegoError: no such choice, or it cannot be rebuilt or read.
        """
        if key not in self.choices(here.generalist.lineage):
            raise GeneralistError("compare: expected one of the page's choices, got another")
        async with self._lock:
            kind, _, name = key.partition("-")
            mark = read_mark(self._beside[name]) if kind == "beside" else None
            state = (key, here.digest, mark)
            model = self._ready.pop(state, None)
            if model is None:
                model = await asyncio.to_thread(self._load, kind, name, here)
                while len(self._ready) >= CACHED:
                    del self._ready[next(iter(self._ready))]
            self._ready[state] = model  # the last, so that those asked for before go first
            return model

    def _load(self, kind: str, name: str, here: Model) -> Model:
        if kind == "entry":
            lineage = here.generalist.lineage[: int(name) + 1]
            generalist = replace(rebuild_state(here.generalist, int(name)), lineage=lineage)
            past = here.generalist.past
        else:
            generalist, past = Generalist.load(self._beside[name]), None
        base = here.base if generalist.base == here.base.ref else Base.find(generalist.base)
        return Model.of(generalist, base, here.device, past)
