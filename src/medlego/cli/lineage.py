"""medlego edit verify | log | diff"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.terminal import Terminal
from medlego.errors import CheckError

if TYPE_CHECKING:
    from medlego.generalist import Difference, Entry, Generalist


def verify_command(
    terminal: Terminal,
    directory: options.Directory,
    trust: Annotated[
        Path | None, Option(help="Trust file: bricks and entries must be signed by it.")
    ] = None,
    last: Annotated[
        str | None,
        Option(help="Digest of the last entry, noted elsewhere: finds a shortened lineage."),
    ] = None,
) -> None:
    """Verify that a generalist is what its recipe says; exit code 1 if a claim fails.

    Example:
        medlego edit verify generalist --trust trust.toml
    """
    from medlego.generalist import Trust, verify

    checks = verify(directory, None if trust is None else Trust.load(trust), last)
    rows = [(check.claim, "yes" if check.holds else "NO", check.outcome) for check in checks]
    terminal.table(("claim", "holds", "outcome"), rows)
    terminal.emit([vars(check) for check in checks])
    if failed := [check for check in checks if not check.holds]:
        raise CheckError(f"{directory}: expected {failed[0].claim}, got: {failed[0].outcome}")


def log_command(terminal: Terminal, directory: options.Directory) -> None:
    """List every entry of the lineage, oldest first; the present state is marked.

    Example:
        medlego edit log generalist
    """
    from medlego.generalist import Generalist, state

    generalist = Generalist.load(directory)
    lineage, names = generalist.lineage, _names(generalist)
    present = state(lineage)
    rows = [
        (
            f"{'→' if number == present else ' '} {number}",
            entry.action + (" for good" if entry.withdrawn else ""),
            _what(entry, names),
            (entry.when or "-").replace("T", " ").removesuffix("Z"),
            entry.by or "-",
            ", ".join(entry.stale) or "-",
        )
        for number, entry in enumerate(lineage)
    ]
    terminal.table(("entry", "action", "what", "when (UTC)", "by", "stale"), rows)
    entries = [entry.model_dump(mode="json") for entry in lineage]
    terminal.emit({"present": present, "lineage": entries})


def diff_command(
    terminal: Terminal,
    directory: options.Directory,
    a: Annotated[int, Argument(metavar="A", help="Number of an entry, as in the log.")],
    b: Annotated[int, Argument(metavar="B", help="Number of another entry.")],
) -> None:
    """Show what changed from the state of entry A to that of entry B.

    Example:
        medlego edit diff generalist 0 2
    """
    from medlego.generalist import Generalist, difference

    generalist = Generalist.load(directory)
    change = difference(generalist, a, b)
    _show_difference(terminal, change, _names(generalist))
    bricks = {
        "added": [item.model_dump(mode="json") for item in change.added],
        "removed": [item.model_dump(mode="json") for item in change.removed],
    }
    terminal.emit(vars(change) | bricks)


def _names(generalist: Generalist) -> dict[str, str]:
    """Task of every brick that a recipe of the lineage names, by digest."""
    recipes = generalist.past.recipes.values()
    return {item.digest: item.task for recipe in recipes for item in recipe.bricks}


def _what(entry: Entry, names: dict[str, str]) -> str:
    parts = [f"+ {names.get(d, '?')} {d[:8]}" for d in entry.added]
    parts += [f"− {names.get(d, '?')} {d[:8]}" for d in entry.removed]
    parts += [f"to entry {entry.to}"] if entry.to is not None else []
    return "\n".join(parts) or "-"


def _show_difference(terminal: Terminal, change: Difference, names: dict[str, str]) -> None:
    rows = [(f"+ {i.task} {i.digest[:12]}", "-", f"{i.coefficient:.4g}") for i in change.added]
    rows += [(f"− {i.task} {i.digest[:12]}", f"{i.coefficient:.4g}", "-") for i in change.removed]
    rows += [
        (f"{names.get(digest, '?')} {digest[:12]}", f"{old:.4g}", f"{new:.4g}")
        for digest, (old, new) in change.coefficients.items()
    ]
    rows += [(name, str(old), str(new)) for name, (old, new) in change.settings.items()]
    rows += [(f"head of {name}", "another", "another") for name in change.heads]
    before, after = change.sizes
    rows.append(("numbers in the merged deltas", f"{before:,}", f"{after:,}"))
    terminal.table(("brick or setting", "A", "B"), rows)
    norms = [(name, f"{norm:.4g}") for name, norm in change.by_target.items()]
    terminal.table(("target", "‖B − A‖"), norms)
    terminal.say(f"all targets together: {change.relative:.2%} of ‖A‖")
