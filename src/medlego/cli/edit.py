"""medlego edit add | remove | update | undo | redo"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from medlego.cli import checks, options, screen
from medlego.cli.check import failure, show_gate
from medlego.cli.terminal import Terminal
from medlego.errors import CheckError, SettingsError

if TYPE_CHECKING:
    from medlego.generalist import Generalist, Stamp

Site = Annotated[str | None, Option(help="Start of a brick's digest: only this site of the task.")]
To = Annotated[int | None, Option(help="Number of an entry, as in the log.")]


@dataclass(frozen=True)
class Incoming:
    """A brick that an edit brings in, and what it must fulfil."""

    brick: options.BrickFile
    coefficient: Annotated[
        float | None, Option(help="Of this brick, if the others' were given as numbers.")
    ] = None
    after_withdrawal: Annotated[
        bool, Option("--after-withdrawal", help="Take a withdrawn brick back; its owner agrees.")
    ] = False
    allow_older: Annotated[
        bool,
        Option("--allow-older", help="Take a brick older than what its task has or had here."),
    ] = False
    require_signed: options.RequireSigned = None
    screen: Annotated[
        bool,
        Option(
            "--screen",
            help="Refuse the brick if screening against the generalist's and the store's bricks "
            "flags it.",
        ),
    ] = False

    def put(self, edit: Callable[..., Generalist], before: Generalist, stamp: Stamp) -> Generalist:
        """The generalist after `add` or `update` with the brick."""
        from medlego.bricks import load_brick

        brick = load_brick(self.brick)
        signatures = checks.signatures_of([self.brick], [brick], self.require_signed)
        after = edit(
            before,
            brick,
            coefficient=self.coefficient,
            signature=next(iter(signatures), None),
            after_withdrawal=self.after_withdrawal,
            allow_older=self.allow_older,
            stamp=stamp,
        )
        return after.signed(signatures)


@dataclass(frozen=True)
class Editing(options.Author):
    """Who edits, and the limits that the edit must keep."""

    gate: options.GateFile = None
    data: options.GateData = None
    labels_map: options.LabelsMap = None
    base_weights: options.BaseWeights = None

    def run(
        self,
        terminal: Terminal,
        directory: Path,
        edit: Callable[[Generalist, Stamp], Generalist],
        *,
        screens: bool = False,
        before_commit: Callable[[Generalist], None] | None = None,
    ) -> None:
        """Load, edit, check, commit and show, while the directory is locked."""
        from medlego.generalist import Generalist, editing, prepared_beside, with_gate

        stamp = self.stamp()
        with editing(directory):
            before = Generalist.load(directory)
            after = edit(before, stamp)
            report = self._gated(terminal, after, before)
            if screens:
                report["screening"] = self._screened(terminal, after, before)
            if report:
                after = replace(after, lineage=with_gate(after.lineage, report, stamp))
            if before_commit is not None:
                before_commit(after)
            after.commit(directory, after=before)
        entry, last, recipe = after.lineage[-1], len(after.lineage) - 1, after.recipe
        rows = [
            (item.task, f"{item.coefficient:.4g}", item.digest[:12], (item.head or "-")[:12])
            for item in recipe.bricks
        ]
        terminal.table(("task", "coefficient", "brick", "refitted head"), rows)
        gone = [before.past.bricks[d] for d in entry.removed if d in before.past.bricks]
        notes = prepared_beside(after.bricks, gone)
        terminal.note(*notes)
        for what in entry.stale:
            terminal.say(f"stale: {what} was made for another merge; make it again")
        terminal.say(f"entry {last}: {entry.action}; recipe {recipe.digest[:12]}")
        terminal.emit(
            {
                "entry": last,
                **entry.model_dump(mode="json"),
                "recipe": recipe.model_dump(mode="json"),
                "digest": recipe.digest,
                "notes": list(notes),
            }
        )

    def _gated(self, terminal: Terminal, after: Generalist, before: Generalist) -> dict[str, Any]:
        """The gate's report; empty if there is no gate."""
        from medlego.evaluation import GateLimits, check

        if (self.gate is None) != (not self.data):
            raise SettingsError("--gate and --data: expected both or neither, got one")
        if self.gate is None:
            return {}
        limits, reading = GateLimits.load(self.gate), options.Reading(labels_map=self.labels_map)
        with terminal.progress() as show:
            datasets = reading.read_all(after.tasks, self.data or [], show)
            base = options.Compute(self.base_weights).find(after.base)
            report = check(after, before, datasets, limits, base=base, show=show)
        show_gate(terminal, report)
        if not report.passed:
            raise CheckError(f"{failure(report)}; nothing was changed")
        return report.as_dict()

    def _screened(
        self, terminal: Terminal, after: Generalist, before: Generalist
    ) -> list[dict[str, Any]]:
        """The screening of every new brick."""
        known = {brick.digest for brick in before.bricks}
        others = [*before.bricks, *screen.trusted([], None)]
        reports = []
        for brick in (brick for brick in after.bricks if brick.digest not in known):
            report = screen.run(terminal, brick, others, options.Compute(self.base_weights))
            if report.flagged:
                raise CheckError(f"{screen.failure(report)}; nothing was changed")
            reports.append(report.as_dict())
        return reports


def add_command(
    terminal: Terminal, directory: options.Directory, incoming: Incoming, editing: Editing
) -> None:
    """Add a brick: a new task, or another site of a task.

    Example:
        medlego edit add generalist skin.safetensors
        medlego edit add generalist skin.safetensors --gate g.toml --data skin=skin/
    """
    from medlego.generalist import add

    editing.run(terminal, directory, partial(incoming.put, add), screens=incoming.screen)


def remove_command(
    terminal: Terminal,
    directory: options.Directory,
    task: Annotated[str, Argument(metavar="TASK", help="The task to remove.")],
    *,
    site: Site = None,
    purge: Annotated[
        bool,
        Option(
            "--purge",
            help="Withdraw for good: delete the files here and in the store; undo cannot bring "
            "them back.",
        ),
    ] = False,
    editing: Editing,
    store: options.StoreFolder = None,
) -> None:
    """Remove a task or one of its sites, as if it had never been merged.

    Example:
        medlego edit remove generalist skin
    """
    from medlego.generalist import remove, withdraw

    bricks = options.open_store(store)

    def clear_store(after: Generalist) -> None:
        for digest in bricks.purge(after.lineage[-1].removed):
            terminal.say(f"removed {digest[:12]} from the store {bricks.path}")

    editing.run(
        terminal,
        directory,
        lambda before, stamp: (withdraw if purge else remove)(before, task, site=site, stamp=stamp),
        before_commit=clear_store if purge else None,
    )


def update_command(
    terminal: Terminal,
    directory: options.Directory,
    incoming: Incoming,
    *,
    site: Site = None,
    editing: Editing,
) -> None:
    """Replace a brick by a newer one of the same task.

    Example:
        medlego edit update generalist skin-2.safetensors
    """
    from medlego.generalist import update

    edit = partial(incoming.put, partial(update, site=site))
    editing.run(terminal, directory, edit, screens=incoming.screen)


def undo_command(
    terminal: Terminal, directory: options.Directory, *, to: To = None, editing: Editing
) -> None:
    """Go back to the state before the last edit, or after the entry --to.

    Example:
        medlego edit undo generalist
    """
    from medlego.generalist import undo

    editing.run(terminal, directory, lambda before, stamp: undo(before, to, stamp=stamp))


def redo_command(
    terminal: Terminal, directory: options.Directory, *, to: To = None, editing: Editing
) -> None:
    """Repeat the edit that was undone last, or go forward to the entry --to.

    Example:
        medlego edit redo generalist
    """
    from medlego.generalist import redo

    editing.run(terminal, directory, lambda before, stamp: redo(before, to, stamp=stamp))
