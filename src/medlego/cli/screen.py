"""medlego screen"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from medlego.cli import options
from medlego.cli.terminal import Terminal
from medlego.errors import CheckError

if TYPE_CHECKING:
    from medlego.bricks import Brick
    from medlego.exchange import Screening


def command(
    terminal: Terminal,
    brick: options.BrickFile,
    *,
    against: Annotated[
        list[Path] | None,
        Option(metavar="PATH", help="A trusted brick file or generalist; repeatable."),
    ] = None,
    data: Annotated[
        str | None,
        Option(
            metavar="DATA", help="Your own images instead of procedural ones; labels are ignored."
        ),
    ] = None,
    store: options.StoreFolder = None,
    compute: options.Compute,
) -> None:
    """Screen a brick from outside for signs of a backdoor; exit code 1 if a check flags it.

    Example:
        medlego screen theirs.safetensors --against generalist
    """
    from medlego.bricks import load_brick

    report = run(terminal, load_brick(brick), trusted(against or [], store), compute, data)
    terminal.emit(report.as_dict())
    if report.flagged:
        raise CheckError(failure(report))


def trusted(paths: Sequence[Path], store: Path | None) -> list[Brick]:
    """The bricks of files, generalists and the store."""
    from medlego.bricks import load_brick
    from medlego.generalist import Generalist

    bricks: list[Brick] = []
    for path in paths:
        bricks += Generalist.load(path).bricks if path.is_dir() else [load_brick(path)]
    stored = options.open_store(store)
    return bricks + [stored.get(digest) for digest in stored.digests()]


def run(
    terminal: Terminal,
    brick: Brick,
    others: Sequence[Brick],
    compute: options.Compute,
    data: str | None = None,
) -> Screening:
    """Screen a brick and show the findings."""
    from medlego.data import join, load_dataset
    from medlego.exchange import Ordinary, screen

    base, device = compute.find(brick.base), compute.place
    with terminal.progress() as show:
        if data is None:
            ordinary = Ordinary.drawn(base, device=device)
        else:
            dataset = load_dataset(data, show=show)
            images = join([dataset.train, dataset.val, dataset.test]).images
            ordinary = Ordinary.of_images(base, images, device=device)
        report = screen(brick, others, base, ordinary=ordinary, show=show)
    rows = [(finding.check, str(finding.verdict), finding.says) for finding in report.findings]
    terminal.table(("check", "verdict", "finding"), rows, f"{report.task} {brick.digest[:12]}")
    terminal.say("No check finds every backdoor; docs/security.md says what can pass.")
    return report


def failure(report: Screening) -> str:
    """One sentence that names what was flagged."""
    return (
        f"screening of {report.task!r}: expected nothing flagged, got "
        f"{', '.join(finding.check for finding in report.flagged)}; ask its "
        "signer, or leave it out"
    )
