"""medlego edit add | remove | update | undo | redo | verify | log | diff"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, say, show_table
from medlego.cli.shared import (
    By,
    RequireSigned,
    SigningKey,
    StoreFolder,
    signatures_of,
    stamp_of,
)

if TYPE_CHECKING:
    from medlego.difference import Difference
    from medlego.generalist import Generalist
    from medlego.lineage import Entry

app = typer.Typer(
    help="Change a generalist in place, undo it, prove what is in it; every edit is recorded.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")]
BrickFile = Annotated[Path, typer.Argument(metavar="BRICK", help="A brick file.")]
Coefficient = Annotated[
    float | None, typer.Option(help="Of the brick, where the others' were given.")
]
Again = Annotated[
    bool, typer.Option("--after-withdrawal", help="Take a withdrawn brick back: its owner agrees.")
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
) -> None:
    """Add a brick: a new task, or one more site of a task."""
    from medlego.brickfile import load_brick
    from medlego.edit import add

    new = load_brick(brick)
    signatures = signatures_of([brick], [new], require_signed)
    stamp = stamp_of(by, key)
    _edit(
        context.obj,
        directory,
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
    store: StoreFolder = None,
) -> None:
    """Remove a task or one of its sites: the generalist that never held it."""
    from medlego.edit import remove
    from medlego.store import Store, default_store
    from medlego.withdrawal import withdraw

    options: Options = context.obj
    kept = Store(store or default_store())
    change = withdraw if purge else remove

    def changed(before: Generalist) -> Generalist:
        after = change(before, task, site=site, stamp=stamp_of(by, key))
        for digest in set(after.lineage[-1].removed) & set(kept.digests()) if purge else ():
            kept.remove(digest)
            say(options, f"removed {digest[:12]} from the store {kept.path}")
        return after

    _edit(options, directory, changed)


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
) -> None:
    """Put a newer brick in the place of one of the same task."""
    from medlego.brickfile import load_brick
    from medlego.edit import update

    new = load_brick(brick)
    signatures = signatures_of([brick], [new], require_signed)
    stamp = stamp_of(by, key)
    _edit(
        context.obj,
        directory,
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
) -> None:
    """Go back to the state before the last edit, or after the entry --to."""
    from medlego.history import undo

    _edit(context.obj, directory, lambda before: undo(before, to, stamp=stamp_of(by, key)))


@app.command("redo")
def redo_command(
    context: typer.Context,
    directory: Directory,
    to: To = None,
    by: By = None,
    key: SigningKey = None,
) -> None:
    """Go forward to the edit that was last undone here, or to the entry --to."""
    from medlego.history import redo

    _edit(context.obj, directory, lambda before: redo(before, to, stamp=stamp_of(by, key)))


@app.command("verify")
def verify_command(
    context: typer.Context,
    directory: Directory,
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust file: bricks and entries must be signed by it."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(help="Digest of the last entry, noted elsewhere: were any cut off?"),
    ] = None,
) -> None:
    """Prove that a generalist is what its recipe says; exit code 1 where a claim fails."""
    from medlego.errors import CheckError
    from medlego.trust import Trust
    from medlego.verification import verify

    options: Options = context.obj
    checks = verify(directory, None if trust is None else Trust.load(trust), last)
    rows = [(check.claim, "yes" if check.holds else "NO", check.found) for check in checks]
    show_table(options, ("claim", "holds", "found"), rows)
    emit(options, [vars(check) for check in checks])
    if failed := [check for check in checks if not check.holds]:
        raise CheckError(f"{directory}: expected {failed[0].claim}, got: {failed[0].found}")


@app.command("log")
def log_command(context: typer.Context, directory: Directory) -> None:
    """List every entry of the lineage, oldest first; the present state is marked."""
    from medlego.generalist import Generalist
    from medlego.lineage import state

    options: Options = context.obj
    held = Generalist.load(directory)
    here = state(held.lineage)
    names = _names(held)
    rows = [
        (
            f"{'→' if number == here else ' '} {number}",
            entry.action + (" for good" if entry.withdrawn else ""),
            _what(entry, names),
            (entry.when or "-").replace("T", " ").removesuffix("Z"),
            entry.by or "-",
            ", ".join(entry.stale) or "-",
        )
        for number, entry in enumerate(held.lineage)
    ]
    show_table(options, ("entry", "action", "what", "when (UTC)", "by", "stale"), rows)
    emit(
        options,
        {"present": here, "lineage": [e.model_dump(mode="json") for e in held.lineage]},
    )


@app.command("diff")
def diff_command(
    context: typer.Context,
    directory: Directory,
    a: Annotated[int, typer.Argument(metavar="A", help="Number of an entry, as in the log.")],
    b: Annotated[int, typer.Argument(metavar="B", help="Number of another.")],
) -> None:
    """Show what changed from the state of entry A to that of entry B."""
    from medlego.difference import difference
    from medlego.generalist import Generalist

    options: Options = context.obj
    held = Generalist.load(directory)
    found = difference(held, a, b)
    _show_difference(options, found, _names(held))
    emit(options, _difference_facts(found))


def _edit(options: Options, directory: Path, change: Callable[[Generalist], Generalist]) -> None:
    """Load, change, commit and show, with nobody else at the directory."""
    from medlego.directory import editing
    from medlego.generalist import Generalist
    from medlego.withdrawal import exposed

    with editing(directory):
        before = Generalist.load(directory)
        after = change(before)
        after.commit(directory, after=before)
    entry = after.lineage[-1]
    rows = [
        (item.task, f"{item.coefficient:.4g}", item.digest[:12], (item.head or "-")[:12])
        for item in after.recipe.bricks
    ]
    show_table(options, ("task", "coefficient", "brick", "refitted head"), rows)
    gone = [before.archive.bricks[d] for d in entry.removed if d in before.archive.bricks]
    notes = exposed(after.bricks, gone)
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


def _names(held: Generalist) -> dict[str, str]:
    """Task of every brick that a recipe of the lineage names, by digest."""
    recipes = held.archive.recipes.values()
    return {item.digest: item.task for recipe in recipes for item in recipe.bricks}


def _what(entry: Entry, names: dict[str, str]) -> str:
    parts = [f"+ {names.get(d, '?')} {d[:8]}" for d in entry.added]
    parts += [f"− {names.get(d, '?')} {d[:8]}" for d in entry.removed]
    parts += [f"to entry {entry.to}"] if entry.to is not None else []
    return "\n".join(parts) or "-"


def _show_difference(options: Options, found: Difference, names: dict[str, str]) -> None:
    rows = [(f"+ {i.task} {i.digest[:12]}", "-", f"{i.coefficient:.4g}") for i in found.added]
    rows += [(f"− {i.task} {i.digest[:12]}", f"{i.coefficient:.4g}", "-") for i in found.removed]
    rows += [
        (f"{names.get(digest, '?')} {digest[:12]}", f"{old:.4g}", f"{new:.4g}")
        for digest, (old, new) in found.coefficients.items()
    ]
    rows += [(name, str(old), str(new)) for name, (old, new) in found.settings.items()]
    rows += [(f"head of {name}", "another", "another") for name in found.heads]
    before, after = found.sizes
    rows.append(("numbers in the merged deltas", f"{before:,}", f"{after:,}"))
    show_table(options, ("brick or setting", "A", "B"), rows)
    norms = [(name, f"{norm:.4g}") for name, norm in found.by_target.items()]
    show_table(options, ("target", "‖B − A‖"), norms)
    say(options, f"all targets together: {found.relative:.2%} of ‖A‖")


def _difference_facts(found: Difference) -> dict[str, Any]:
    return {
        "added": [item.model_dump(mode="json") for item in found.added],
        "removed": [item.model_dump(mode="json") for item in found.removed],
        "coefficients": {digest: list(pair) for digest, pair in found.coefficients.items()},
        "settings": {name: list(pair) for name, pair in found.settings.items()},
        "heads": list(found.heads),
        "by_target": dict(found.by_target),
        "relative": found.relative,
        "sizes": list(found.sizes),
    }
