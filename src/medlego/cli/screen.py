"""medlego screen"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import BaseWeights, Device, JsonFile, StoreFolder
from medlego.cli.shared import resolve_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medlego.base import Base
    from medlego.bricks import Brick
    from medlego.exchange import Screening


def command(
    context: typer.Context,
    brick: Annotated[Path, typer.Argument(metavar="BRICK", help="A brick file from outside.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Trusted: a brick file or a generalist; repeatable."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Your own images instead of procedural ones; labels do not count."
        ),
    ] = None,
    json: JsonFile = None,
    base_weights: BaseWeights = None,
    store: StoreFolder = None,
    device: Device = "auto",
) -> None:
    """Look for what sound bricks do not show; exit code 1 where something is flagged."""
    from medlego.base import Base
    from medlego.bricks import load_brick
    from medlego.errors import CheckError

    options: Options = context.obj
    found, others = load_brick(brick), trusted(against or [], store)
    base = Base.find(found.base, weights=base_weights)
    report = run(options, found, others, base, data, resolve_device(device))
    emit(options, report.as_dict(), json)
    if report.flagged:
        raise CheckError(failure(report))


def trusted(paths: Sequence[Path], store: Path | None) -> list[Brick]:
    """The bricks of files, generalists and the store."""
    from medlego.bricks import load_brick
    from medlego.exchange import Store, default_store
    from medlego.generalist import Generalist

    bricks: list[Brick] = []
    for path in paths:
        bricks += Generalist.load(path).bricks if path.is_dir() else [load_brick(path)]
    held = Store(store or default_store())
    return bricks + [held.get(digest) for digest in held.digests()]


def run(
    options: Options,
    brick: Brick,
    others: Sequence[Brick],
    base: Base,
    data: str | None = None,
    device: str = "cpu",
) -> Screening:
    """Screen a brick and show what was found."""
    from medlego.data import join, load_dataset
    from medlego.exchange import Ordinary, screen

    with progress(options) as show:
        if data is None:
            ordinary = Ordinary.drawn(base, device=device)
        else:
            images = load_dataset(data, show=show)
            whole = join([images.train, images.val, images.test])
            ordinary = Ordinary.given(base, whole.images, device=device)
        report = screen(brick, others, base, ordinary=ordinary, show=show)
    rows = [(found.check, str(found.verdict), found.says) for found in report.findings]
    show_table(options, ("check", "verdict", "found"), rows, f"{report.task} {brick.digest[:12]}")
    say(options, "No check finds every backdoor: docs/security.md says what can pass.")
    return report


def failure(report: Screening) -> str:
    """One sentence that names what was flagged."""
    return (
        f"screening of {report.task!r}: expected nothing flagged, got "
        f"{', '.join(found.check for found in report.flagged)}; ask its "
        "signer, or leave it out"
    )
