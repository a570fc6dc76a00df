"""The page's options of `medlego serve`, as its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.reading import read_data_of, read_pairs

if TYPE_CHECKING:
    from medlego.data import Dataset, Task
    from medlego.generalist import Generalist
    from medlego.serve import PageGate, PageSettings
    from medlego.support import Progress

Edits = Annotated[
    bool, typer.Option("--edits", help="Let people on the page add, remove and undo bricks.")
]
GateFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="GateLimits in TOML that an edit on the page must keep."),
]
GateData = Annotated[
    list[str] | None,
    typer.Option(metavar="TASK=DATA", help="Labelled images for --gate, test split; repeatable."),
]
Trusted = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Trust file: the page says whose signatures hold, and takes in no other brick.",
    ),
]
Beside = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=DIR", help="A generalist to compare with on the page; repeatable."),
]


def page_settings(
    generalist: Generalist,
    *,
    edits: bool,
    gate: Path | None,
    data: list[str],
    trust: Path | None,
    beside: list[str],
) -> PageSettings:
    """What the options say of a generalist's page.

    Raises:
        MedLegoError: a file that cannot be read, or options that do not go together.
    """
    from medlego.errors import SettingsError
    from medlego.generalist import Trust
    from medlego.serve import PageSettings

    if (gate is None) != (not data):
        raise SettingsError("--gate and --data: expected both or neither, got one")
    if gate is not None and not edits:
        raise SettingsError("--gate: expected together with --edits, got it alone; add --edits")
    return PageSettings(
        edits=edits,
        gate=None if gate is None else _gate(gate, data, generalist),
        trust=None if trust is None else Trust.load(trust),
        beside=_folders(beside),
    )


def _gate(path: Path, data: list[str], generalist: Generalist) -> PageGate:
    from medlego.errors import SettingsError
    from medlego.evaluation import GateLimits
    from medlego.serve import PageGate

    pairs, limits = read_pairs(data), GateLimits.load(path)
    recipes = (generalist.recipe, *generalist.past.recipes.values())
    known = {item.task for recipe in recipes for item in recipe.bricks}
    known |= {*limits.require, *limits.task}  # such a task may be added later
    if unknown := [name for name in pairs if name not in known]:
        raise SettingsError(
            f"--data: expected tasks out of {', '.join(sorted(known))}, got {', '.join(unknown)}; "
            f"correct it, or name a task that is to be added in {path}"
        )

    def read(tasks: Sequence[Task], show: Progress) -> Mapping[str, Dataset]:
        return {
            task.name: read_data_of(task, pairs[task.name], seed=0, labels_map=None, show=show)
            for task in tasks
            if task.name in pairs
        }

    return PageGate(limits, read)


def _folders(texts: list[str]) -> dict[str, Path]:
    from medlego.errors import SettingsError
    from medlego.generalist import DOCUMENT

    found: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or name in found or not (Path(folder) / DOCUMENT).is_file():
            raise SettingsError(
                f"--beside: expected NAME=DIR, each name once and a generalist in DIR, got {text!r}"
            )
        found[name] = Path(folder)
    return found
