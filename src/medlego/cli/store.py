"""medlego store ls | add | rm | gc | push | pull"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import StoreFolder

if TYPE_CHECKING:
    from medlego.exchange import Store

app = typer.Typer(
    help="Keep bricks by digest, find them, and share them with other places.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Digests = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DIGEST…]", help="Starts of digests. All bricks by default."),
]
Url = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="A directory, a URL of fsspec, or hf://OWNER/NAME[@REVISION]."
    ),
]


@app.command("ls")
def ls_command(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Part of the task's name.")] = None,
    modality: Annotated[str | None, typer.Option(help="DICOM modality, such as MR.")] = None,
    body_part: Annotated[str | None, typer.Option(help="DICOM body part, such as BRAIN.")] = None,
    base: Annotated[str | None, typer.Option(help="Name, or start of the fingerprint.")] = None,
    store: StoreFolder = None,
) -> None:
    """List bricks by what they say of themselves."""
    options: Options = context.obj
    held = _open(store)
    labels, problems = held.labels(task=task, modality=modality, body_part=body_part, base=base)
    rows = [
        (
            label.task.name,
            label.task.kind,
            str(len(label.task.labels)),
            f"{label.task.modality or '?'}, {label.task.body_part or '?'}",
            f"{label.base.name} {label.base.fingerprint[:6]}",
            f"{label.bytes / 1e3:,.0f} kB",
            label.digest[:12],
        )
        for label in labels
    ]
    columns = ("task", "kind", "labels", "modality, part", "base", "size", "digest")
    show_table(options, columns, rows)
    for problem in problems:
        say(options, f"no brick: {problem}")
    say(options, f"{len(labels)} of {len(held.digests())} bricks in {held.path}")
    emit(
        options,
        {
            "store": str(held.path),
            "bricks": [
                {
                    "digest": label.digest,
                    "task": label.task.model_dump(mode="json"),
                    "base": label.base.model_dump(mode="json"),
                    "card": label.card.model_dump(mode="json"),
                    "bytes": label.bytes,
                }
                for label in labels
            ],
            "problems": problems,
        },
    )


@app.command("add")
def add_command(
    context: typer.Context,
    bricks: Annotated[list[Path], typer.Argument(metavar="BRICK…", help="Brick files.")],
    store: StoreFolder = None,
) -> None:
    """Put bricks in, each fully checked."""
    from medlego.bricks import load_bricks

    options: Options = context.obj
    held = _open(store)
    with progress(options) as show:
        digests = [held.add(brick) for brick in load_bricks(bricks, show)]
    for path, digest in zip(bricks, digests, strict=True):
        say(options, f"{digest[:12]} {path}")
    emit(options, {"store": str(held.path), "digests": digests})


@app.command("rm")
def rm_command(
    context: typer.Context,
    digests: Annotated[list[str], typer.Argument(metavar="DIGEST…", help="Starts of digests.")],
    store: StoreFolder = None,
) -> None:
    """Delete bricks from the store; generalists that hold them keep their own copies."""
    options: Options = context.obj
    held = _open(store)
    whole = [held.find(start) for start in digests]
    gone = [held.remove(digest) for digest in whole]
    say(options, f"removed {', '.join(digest[:12] for digest in gone)}")
    emit(options, {"store": str(held.path), "removed": gone})


@app.command("gc")
def gc_command(
    context: typer.Context,
    used_by: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Keep only bricks of this generalist; repeatable."),
    ] = None,
    store: StoreFolder = None,
) -> None:
    """Delete what killed writers left and, with --used-by, bricks that no DIR names."""
    from medlego.generalist import load_document

    options: Options = context.obj
    held = _open(store)
    used = None
    if used_by:
        recipes = [load_document(path).recipe for path in used_by]
        used = {item.digest for recipe in recipes for item in recipe.bricks}
    gone = held.collect(used)
    say(options, f"deleted {len(gone)} files, {len(held.digests())} bricks are left")
    emit(options, {"store": str(held.path), "deleted": [path.name for path in gone]})


@app.command("push")
def push_command(
    context: typer.Context, url: Url, digests: Digests = None, store: StoreFolder = None
) -> None:
    """Copy bricks to another place, those that are missing there."""
    from medlego.exchange import push

    options: Options = context.obj
    with progress(options) as show:
        sent = push(_open(store), url, digests or None, show=show)
    say(options, f"pushed {len(sent)} bricks to {url}")
    emit(options, {"place": url, "pushed": sent})


@app.command("pull")
def pull_command(
    context: typer.Context, url: Url, digests: Digests = None, store: StoreFolder = None
) -> None:
    """Copy bricks from another place, each fully checked before it enters."""
    from medlego.exchange import pull

    options: Options = context.obj
    with progress(options) as show:
        found = pull(_open(store), url, digests or None, show=show)
    say(options, f"pulled {len(found)} bricks from {url}")
    emit(options, {"place": url, "pulled": found})


def _open(folder: Path | None) -> Store:
    from medlego.exchange import Store, default_store

    return Store(folder or default_store())
