"""What the page allows, by the options that the service is started with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlego.data import Dataset, Task
from medlego.evaluation import GateLimits
from medlego.generalist import Trust
from medlego.support import Progress, ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class PageGate(ShortRepr):
    """What an edit must pass: limits, and labelled images for some tasks."""

    limits: GateLimits
    read: Callable[[Sequence[Task], Progress], Mapping[str, Dataset]]
    """The data sets of the tasks that there are images for."""


@dataclass(frozen=True, eq=False, repr=False)
class PageSettings(ShortRepr):
    """How the page is run.

    `edits` lets people change bricks. `trust` names the keys that signatures are checked by; with
    it only bricks that it accepts can be added. `beside` are directories of generalists to compare
    with, by a name.
    """

    edits: bool = False
    gate: PageGate | None = None
    trust: Trust | None = None
    beside: Mapping[str, Path] = field(default_factory=dict)
