"""The generalist that answers, and how an edited one replaces it while requests are under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medlego.base import Base
from medlego.bricks import BrickSignature
from medlego.errors import MedLegoError
from medlego.generalist import Generalist, PastStates, read_mark
from medlego.prediction import Engine

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Before a directory that could not be read is read again as it is; doubled each time."""


@dataclass(frozen=True, eq=False)
class Model:
    """One state of a generalist on its base; a request is answered by one state throughout."""

    generalist: Generalist
    base: Base
    engine: Engine
    device: str
    signatures: Mapping[str, BrickSignature]
    """Of its bricks, by digest; read at once, since a later edit may delete the files."""

    @classmethod
    def of(
        cls, generalist: Generalist, base: Base, device: str, past: PastStates | None = None
    ) -> Model:
        """Make it ready; `past` has the signatures where the generalist itself has not."""
        known = (past or generalist.past).signatures
        signatures = {b.digest: known[b.digest] for b in generalist.bricks if b.digest in known}
        engine = Engine(generalist, base, device=device)
        return cls(generalist, base, engine, device, signatures)

    @property
    def digest(self) -> str:
        """Of the recipe."""
        return self.generalist.recipe.digest

    @property
    def entry(self) -> int:
        """Number of the lineage's last entry."""
        return len(self.generalist.lineage) - 1


class Reloader:
    """Follows a directory: `model` is its last readable state, `problem` why no later one is.

    `check` may be called by one thread at a time; `model` may be read by all.
    """

    def __init__(
        self,
        directory: Path,
        *,
        base_weights: Path | None = None,
        device: str = "cpu",
        on_change: Callable[[str], None] = lambda _outcome: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load the directory.

        Args:
            directory: a generalist's.
            base_weights: file of its base; found by fingerprint when left out.
            device: `cpu` or `cuda`.
            on_change: called with `reloaded` or `refused` after each change of the directory.
            clock: tells seconds.

        Raises:
            MedLegoError: the directory or its base cannot be read.
        """
        self.directory = directory
        self._weights, self._device = base_weights, device
        self._on_change, self._clock = on_change, clock
        self._lock = threading.Lock()
        self._wait_s, self._again = FIRST_WAIT_S, 0.0
        self.problem: str | None = None
        self._mark = read_mark(directory)
        self.model = self._load(None)

    def check(self) -> None:
        """Load the directory's present state, if it changed.

        A broken one is tried again without an edit too, since a file of it may be restored.
        """
        with self._lock:
            mark = read_mark(self.directory)
            again = mark == self._mark
            if again and (self.problem is None or self._clock() < self._again):
                return
            self._mark = mark
            try:
                self.model = self._load(self.model.base)
            except Exception as error:  # the old state goes on answering
                known = isinstance(error, MedLegoError | OSError)
                self.problem = str(error) if known else f"unexpected {type(error).__name__}"
                self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S) if again else FIRST_WAIT_S
                self._again = self._clock() + self._wait_s
                if not again:
                    self._on_change("refused")
            else:
                self.problem = None
                self._on_change("reloaded")

    def _load(self, base: Base | None) -> Model:
        generalist = Generalist.load(self.directory)
        if base is None or base.ref != generalist.base:
            base = Base.find(generalist.base, weights=self._weights)
        return Model.of(generalist, base, self._device)
