"""medlego store ls | add | rm | gc | push | pull"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.terminal import Terminal

Digests = Annotated[
    list[str] | None,
    Argument(metavar="[DIGEST…]", help="Starts of digests. All bricks by default."),
]
Place = Annotated[
    str,
    Argument(metavar="PLACE", help="A directory, a URL of fsspec, or hf://OWNER/NAME[@REVISION]."),
]


def ls_command(
    terminal: Terminal,
    *,
    task: Annotated[str | None, Option(help="Part of the task's name.")] = None,
    modality: Annotated[str | None, Option(help="DICOM modality, such as MR.")] = None,
    body_part: options.BodyPart = None,
    base: Annotated[str | None, Option(help="Name, or start of the fingerprint.")] = None,
    store: options.StoreFolder = None,
) -> None:
    """List bricks by what their files state.

    Example:
        medlego store ls --modality MR
    """
    bricks = options.open_store(store)
    labels, problems = bricks.labels(task=task, modality=modality, body_part=body_part, base=base)
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
    terminal.table(columns, rows)
    for problem in problems:
        terminal.say(f"not a brick: {problem}")
    terminal.say(f"{len(labels)} of {len(bricks.digests())} bricks in {bricks.path}")
    facts = [
        {
            "digest": label.digest,
            "task": label.task.model_dump(mode="json"),
            "base": label.base.model_dump(mode="json"),
            "card": label.card.model_dump(mode="json"),
            "bytes": label.bytes,
        }
        for label in labels
    ]
    terminal.emit({"store": str(bricks.path), "bricks": facts, "problems": problems})


def add_command(
    terminal: Terminal, bricks: options.BrickFiles, *, store: options.StoreFolder = None
) -> None:
    """Put bricks into the store; each is fully checked.

    Example:
        medlego store add brain.safetensors chest.safetensors
    """
    from medlego.bricks import load_bricks

    into = options.open_store(store)
    with terminal.progress() as show:
        digests = [into.add(brick) for brick in load_bricks(bricks, show)]
    for path, digest in zip(bricks, digests, strict=True):
        terminal.say(f"{digest[:12]} {path}")
    terminal.emit({"store": str(into.path), "digests": digests})


def rm_command(
    terminal: Terminal,
    digests: Annotated[list[str], Argument(metavar="DIGEST…", help="Starts of digests.")],
    *,
    store: options.StoreFolder = None,
) -> None:
    """Delete bricks from the store; generalists that contain them keep their own copies.

    Example:
        medlego store rm 3f9a1c
    """
    bricks = options.open_store(store)
    whole = [bricks.find(start) for start in digests]
    removed = [bricks.remove(digest) for digest in whole]
    terminal.say(f"removed {', '.join(digest[:12] for digest in removed)}")
    terminal.emit({"store": str(bricks.path), "removed": removed})


def gc_command(
    terminal: Terminal,
    *,
    used_by: Annotated[
        list[Path] | None,
        Option(metavar="DIR", help="Keep only bricks of this generalist; repeatable."),
    ] = None,
    store: options.StoreFolder = None,
) -> None:
    """Delete what interrupted writers left and, with --used-by, bricks that no DIR names.

    Example:
        medlego store gc --used-by generalist
    """
    from medlego.generalist import load_document

    bricks = options.open_store(store)
    used = None
    if used_by:
        recipes = [load_document(path).recipe for path in used_by]
        used = {item.digest for recipe in recipes for item in recipe.bricks}
    deleted = bricks.collect(used)
    terminal.say(f"deleted {len(deleted)} files, {len(bricks.digests())} bricks are left")
    terminal.emit({"store": str(bricks.path), "deleted": [path.name for path in deleted]})


def push_command(
    terminal: Terminal, place: Place, digests: Digests = None, *, store: options.StoreFolder = None
) -> None:
    """Copy bricks that another place lacks to it.

    Example:
        medlego store push /mnt/share/bricks
        medlego store push hf://hospital/bricks 3f9a1c
    """
    from medlego.exchange import push

    with terminal.progress() as show:
        pushed = push(options.open_store(store), place, digests or None, show=show)
    terminal.say(f"pushed {len(pushed)} bricks to {place}")
    terminal.emit({"place": place, "pushed": pushed})


def pull_command(
    terminal: Terminal, place: Place, digests: Digests = None, *, store: options.StoreFolder = None
) -> None:
    """Copy bricks from another place; each is fully checked before it enters.

    Example:
        medlego store pull hf://hospital/bricks@v1
    """
    from medlego.exchange import pull

    with terminal.progress() as show:
        pulled = pull(options.open_store(store), place, digests or None, show=show)
    terminal.say(f"pulled {len(pulled)} bricks from {place}")
    terminal.emit({"place": place, "pulled": pulled})
