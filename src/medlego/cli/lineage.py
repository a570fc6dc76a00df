"""medlego edit verify | log | diff"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, say, show_table

if TYPE_CHECKING:
    from medlego.generalist import Difference, Entry, Generalist

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")]


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
    from medlego.generalist import Trust, verify

    options: Options = context.obj
    checks = verify(directory, None if trust is None else Trust.load(trust), last)
    rows = [(check.claim, "yes" if check.holds else "NO", check.found) for check in checks]
    show_table(options, ("claim", "holds", "found"), rows)
    emit(options, [vars(check) for check in checks])
    if failed := [check for check in checks if not check.holds]:
        raise CheckError(f"{directory}: expected {failed[0].claim}, got: {failed[0].found}")


def log_command(context: typer.Context, directory: Directory) -> None:
    """List every entry of the lineage, oldest first; the present state is marked."""
    from medlego.generalist import Generalist, state

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


def diff_command(
    context: typer.Context,
    directory: Directory,
    a: Annotated[int, typer.Argument(metavar="A", help="Number of an entry, as in the log.")],
    b: Annotated[int, typer.Argument(metavar="B", help="Number of another.")],
) -> None:
    """Show what changed from the state of entry A to that of entry B."""
    from medlego.generalist import Generalist, difference

    options: Options = context.obj
    held = Generalist.load(directory)
    found = difference(held, a, b)
    _show_difference(options, found, _names(held))
    emit(options, _difference_facts(found))


def _names(held: Generalist) -> dict[str, str]:
    """Task of every brick that a recipe of the lineage names, by digest."""
    recipes = held.past.recipes.values()
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
