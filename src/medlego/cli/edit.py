"""medlego edit add | remove | update | undo | redo | verify | log | diff"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli import lineage, screen
from medlego.cli.check import failure, show_gate
from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.lineage import Directory
from medlego.cli.options import BaseWeights, By, LabelsMap, RequireSigned, SigningKey, StoreFolder
from medlego.cli.reading import read_task_data
from medlego.cli.shared import resolve_device, signatures_of, stamp_of

if TYPE_CHECKING:
    from medlego.generalist import Generalist, Stamp

app = typer.Typer(
    help="Change a generalist in place, undo it, prove what is in it; every edit is recorded.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BrickFile = Annotated[Path, typer.Argument(metavar="BRICK", help="A brick file.")]
Coefficient = Annotated[
    float | None, typer.Option(help="Of the brick, where the others' were given.")
]
Again = Annotated[
    bool, typer.Option("--after-withdrawal", help="Take a withdrawn brick back: its owner agrees.")
]
GateFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Limits in TOML; an edit that breaks one is not made."),
]
GateData = Annotated[
    list[str] | None,
    typer.Option(metavar="TASK=DATA", help="Labelled images for --gate, test split; repeatable."),
]
Screened = Annotated[
    bool,
    typer.Option(
        "--screen",
        help="Refuse a brick that screening flags, beside the generalist's own and the store's.",
    ),
]
To = Annotated[int | None, typer.Option(help="Number of an entry, as in the log.")]


@app.command("add")
def add_command(
    context: typer.Context,
    directory: Directory,
    brick: BrickFile,
    coefficient: Coefficient = None,
    after_withdrawal: Again = False,
    require_signed: RequireSigned = None,
    by: By = None,
    key: SigningKey = None,
    gate: GateFile = None,
    data: GateData = None,
    labels_map: LabelsMap = None,
    screening: Screened = False,
    base_weights: BaseWeights = None,
) -> None:
    """Add a brick: a new task, or one more site of a task."""
    from medlego.bricks import load_brick
    from medlego.generalist import add

    new = load_brick(brick)
    signatures = signatures_of([brick], [new], require_signed)
    stamp = stamp_of(by, key)
    _edit(
        context.obj,
        directory,
        GateOptions(gate, data or [], labels_map, base_weights, screening),
        stamp,
        lambda before: add(
            before,
            new,
            coefficient=coefficient,
            after_withdrawal=after_withdrawal,
            stamp=stamp,
        ).signed(signatures),
    )


@app.command("remove")
def remove_command(
    context: typer.Context,
    directory: Directory,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task to remove.")],
    site: Annotated[
        str | None, typer.Option(help="Start of a brick's digest: remove that site only.")
    ] = None,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="For good: its files go too, here and in the store; undo cannot bring it back.",
        ),
    ] = False,
    by: By = None,
    key: SigningKey = None,
    gate: GateFile = None,
    data: GateData = None,
    labels_map: LabelsMap = None,
    base_weights: BaseWeights = None,
    store: StoreFolder = None,
) -> None:
    """Remove a task or one of its sites: the generalist that never held it."""
    from medlego.exchange import Store, default_store
    from medlego.generalist import remove, withdraw

    options: Options = context.obj
    kept, stamp = Store(store or default_store()), stamp_of(by, key)
    change = withdraw if purge else remove

    def clear_store(after: Generalist) -> None:
        for digest in set(after.lineage[-1].removed) & set(kept.digests()):
            kept.remove(digest)
            say(options, f"removed {digest[:12]} from the store {kept.path}")

    _edit(
        options,
        directory,
        GateOptions(gate, data or [], labels_map, base_weights),
        stamp,
        lambda before: change(before, task, site=site, stamp=stamp),
        clear_store if purge else None,
    )


@app.command("update")
def update_command(
    context: typer.Context,
    directory: Directory,
    brick: BrickFile,
    site: Annotated[
        str | None, typer.Option(help="Start of the older brick's digest, among several sites.")
    ] = None,
    coefficient: Coefficient = None,
    after_withdrawal: Again = False,
    require_signed: RequireSigned = None,
    by: By = None,
    key: SigningKey = None,
    gate: GateFile = None,
    data: GateData = None,
    labels_map: LabelsMap = None,
    screening: Screened = False,
    base_weights: BaseWeights = None,
) -> None:
    """Put a newer brick in the place of one of the same task."""
    from medlego.bricks import load_brick
    from medlego.generalist import update

    new = load_brick(brick)
    signatures = signatures_of([brick], [new], require_signed)
    stamp = stamp_of(by, key)
    _edit(
        context.obj,
        directory,
        GateOptions(gate, data or [], labels_map, base_weights, screening),
        stamp,
        lambda before: update(
            before,
            new,
            site=site,
            coefficient=coefficient,
            after_withdrawal=after_withdrawal,
            stamp=stamp,
        ).signed(signatures),
    )


@app.command("undo")
def undo_command(
    context: typer.Context,
    directory: Directory,
    to: To = None,
    by: By = None,
    key: SigningKey = None,
    gate: GateFile = None,
    data: GateData = None,
    labels_map: LabelsMap = None,
    base_weights: BaseWeights = None,
) -> None:
    """Go back to the state before the last edit, or after the entry --to."""
    from medlego.generalist import undo

    stamp, checks = stamp_of(by, key), GateOptions(gate, data or [], labels_map, base_weights)
    _edit(context.obj, directory, checks, stamp, lambda before: undo(before, to, stamp=stamp))


@app.command("redo")
def redo_command(
    context: typer.Context,
    directory: Directory,
    to: To = None,
    by: By = None,
    key: SigningKey = None,
    gate: GateFile = None,
    data: GateData = None,
    labels_map: LabelsMap = None,
    base_weights: BaseWeights = None,
) -> None:
    """Go forward to the edit that was last undone here, or to the entry --to."""
    from medlego.generalist import redo

    stamp, checks = stamp_of(by, key), GateOptions(gate, data or [], labels_map, base_weights)
    _edit(context.obj, directory, checks, stamp, lambda before: redo(before, to, stamp=stamp))


@dataclass(frozen=True)
class GateOptions:
    """What an edit must pass before it is made, as the command line says it."""

    limits: Path | None
    data: list[str]
    labels_map: Path | None
    base_weights: Path | None
    screens: bool = False

    def check(
        self, options: Options, after: Generalist, before: Generalist
    ) -> dict[str, Any] | None:
        """The findings; None where nothing was asked for."""
        from medlego.errors import SettingsError

        if (self.limits is None) != (not self.data):
            raise SettingsError("--gate and --data: expected both or neither, got one")
        found: dict[str, Any] = {}
        if self.limits is not None:
            found |= self._gated(options, self.limits, after, before)
        if self.screens:
            found["screening"] = self._screened(options, after, before)
        return found or None

    def _gated(
        self, options: Options, limits: Path, after: Generalist, before: Generalist
    ) -> dict[str, Any]:
        from medlego.base import Base
        from medlego.errors import CheckError
        from medlego.evaluation import GateLimits, check

        read = GateLimits.load(limits)
        with progress(options) as show:
            datasets = read_task_data(
                after.tasks, self.data, seed=0, labels_map=self.labels_map, show=show
            )
            base = Base.find(after.base, weights=self.base_weights)
            report = check(after, before, datasets, read, base=base, show=show)
        show_gate(options, report)
        if not report.passed:
            raise CheckError(f"{failure(report)}; nothing was changed")
        return report.as_dict()

    def _screened(
        self, options: Options, after: Generalist, before: Generalist
    ) -> list[dict[str, Any]]:
        from medlego.base import Base
        from medlego.errors import CheckError

        known = {brick.digest for brick in before.bricks}
        others = [*before.bricks, *screen.trusted([], None)]
        base = Base.find(after.base, weights=self.base_weights)
        found = []
        for brick in (b for b in after.bricks if b.digest not in known):
            report = screen.run(options, brick, others, base, device=resolve_device("auto"))
            if report.flagged:
                raise CheckError(f"{screen.failure(report)}; nothing was changed")
            found.append(report.as_dict())
        return found


def _edit(
    options: Options,
    directory: Path,
    gate: GateOptions,
    stamp: Stamp,
    change: Callable[[Generalist], Generalist],
    before_commit: Callable[[Generalist], None] | None = None,
) -> None:
    """Load, change, check, commit and show, with nobody else at the directory."""
    from medlego.generalist import Generalist, editing, prepared_beside, with_gate

    with editing(directory):
        before = Generalist.load(directory)
        after = change(before)
        if (report := gate.check(options, after, before)) is not None:
            gated = with_gate(after.lineage, report, stamp)
            after = replace(after, lineage=gated)
        if before_commit is not None:
            before_commit(after)
        after.commit(directory, after=before)
    entry = after.lineage[-1]
    rows = [
        (item.task, f"{item.coefficient:.4g}", item.digest[:12], (item.head or "-")[:12])
        for item in after.recipe.bricks
    ]
    show_table(options, ("task", "coefficient", "brick", "refitted head"), rows)
    gone = [before.past.bricks[d] for d in entry.removed if d in before.past.bricks]
    notes = prepared_beside(after.bricks, gone)
    for note in notes:
        say(options, f"note: {note}")
    for what in entry.stale:
        say(options, f"stale: {what} was made for another merge; make it anew")
    last = len(after.lineage) - 1
    say(options, f"entry {last}: {entry.action}; recipe {after.recipe.digest[:12]}")
    emit(
        options,
        {
            "entry": last,
            **entry.model_dump(mode="json"),
            "recipe": after.recipe.model_dump(mode="json"),
            "digest": after.recipe.digest,
            "notes": list(notes),
        },
    )


app.command("verify")(lineage.verify_command)
app.command("log")(lineage.log_command)
app.command("diff")(lineage.diff_command)
