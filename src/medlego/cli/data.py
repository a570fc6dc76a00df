"""medlego data check | remember"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import DataSeed, Force, JsonFile, KindOfTask, LabelsMap
from medlego.cli.reading import DATA_HELP, default_name, read_data
from medlego.cli.shared import read_hints, refuse_existing
from medlego.cli.tables import TableCommand

if TYPE_CHECKING:
    from medlego.data import Fingerprints, ImagePlace, LeakPair, LeakReport
    from medlego.support import Progress

app = typer.Typer(
    help="Look at data sets before anything is trained: leaks, copies, contradicting labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_LISTED = 20


@app.command("check", cls=TableCommand)
def check_command(
    context: typer.Context,
    data: Annotated[list[str], typer.Argument(metavar="DATA…", help=DATA_HELP)],
    sidecar: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="What data remember wrote of images trained on; repeatable."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key that it was written with.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Every image will be tested on (evaluate --split all), whatever its split.",
        ),
    ] = False,
    kind: KindOfTask = None,
    labels_map: LabelsMap = None,
    json: JsonFile = None,
    data_seed: DataSeed = 0,
) -> None:
    """Find images and patients on both sides of a split, between data sets, or trained on before.

    Compares patient ids, exact pixels, and looks (copies that were moved, scaled, cut, turned a
    little, mirrored, made brighter or compressed again). Lists contradicting labels. No patient is
    named. Exit code 1 where something leaks.
    """
    from medlego.data import Memory, SiteKey, check_leaks
    from medlego.errors import CheckError, SettingsError

    options: Options = context.obj
    secret = None if key is None else SiteKey.load(key)
    memories = [] if secret is None else [Memory.load(path, secret) for path in sidecar or []]
    if sidecar and secret is None:
        raise SettingsError("--sidecar: expected the key that it was written with; pass --key")
    with progress(options) as show:
        sets = [_fingerprints(options, text, kind, labels_map, data_seed, show) for text in data]
        report = check_leaks(sets, memories, secret, whole=whole, show=show)
    _show(options, report)
    emit(options, report.as_dict(), json)
    if report.leaks:
        raise CheckError(
            f"data check: expected nothing on both sides, got {len(report.leaks)} pairs that leak; "
            "move or drop these images, or split by patient (leave the split column out)"
        )


@app.command("remember", cls=TableCommand)
def remember_command(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sidecar file to write.")],
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="The site's key; made where there is none.")
    ],
    split: Annotated[
        list[str] | None,
        typer.Option(help="train, val or test; repeatable. Left out: train and val, as training."),
    ] = None,
    kind: KindOfTask = None,
    data_seed: DataSeed = 0,
    force: Force = False,
) -> None:
    """Keep what a later check needs of a brick's training images; the file stays at the site.

    Pass the --data-seed of the training. docs/security.md says what the file reveals.
    """
    from medlego.data import Memory, SiteKey

    options: Options = context.obj
    refuse_existing(output, force)
    splits = tuple(dict.fromkeys(split or ("train", "val")))
    secret = SiteKey.load(key, make=True)
    with progress(options) as show:
        fingerprints = _fingerprints(options, data, kind, None, data_seed, show, splits)
        memory = Memory.of(fingerprints, secret)
        memory.save(output)
    size = output.stat().st_size / 1e6
    say(options, f"wrote {output}: {len(memory)} images of {', '.join(splits)} ({size:.2f} MB)")
    say(options, f"keep it and {key} at the site, apart from one another")
    emit(options, {"output": str(output), "images": len(memory), "splits": list(splits)})


def _fingerprints(
    options: Options,
    text: str,
    kind: str | None,
    labels_map: Path | None,
    seed: int,
    show: Progress,
    splits: tuple[str, ...] = ("train", "val", "test"),
) -> Fingerprints:
    from medlego.data import Fingerprints

    hints = read_hints(default_name(text), kind, None, None, None)
    dataset = read_data(text, hints, seed=seed, labels_map=labels_map, show=show, keep_torn=True)
    for note in dataset.notes:
        say(options, f"note: {text}: {note}")
    return Fingerprints.of(text, dataset, splits=splits, show=show)


def _show(options: Options, report: LeakReport) -> None:
    """Print what is shared between which splits, then the first pairs."""
    several = len({place.data for pair in report.pairs for place in (pair.first, pair.second)}) > 1
    rows = []
    for (kind, *sides), (first, second) in sorted(report.counts().items()):
        one, other = (f"{sides[i]}: {sides[i + 1]}" if several else sides[i + 1] for i in (0, 2))
        rows.append((_KINDS[kind], one, str(first), other, str(second)))
    if rows:
        show_table(options, ("same", "in", "images", "and in", "images"), rows)
    for title, pairs in (("leak", report.leaks), ("contradicting labels", report.conflicts)):
        for pair in pairs[:_LISTED]:
            say(options, f"{title}: {_pair(pair)}")
        if len(pairs) > _LISTED:
            say(options, f"{title}: {len(pairs) - _LISTED} more; --json FILE lists all")
    say(
        options,
        f"{report.images} images: {len(report.leaks)} pairs leak, "
        f"{len(report.conflicts)} contradict each other in labels",
    )


_KINDS = {"patient": "patient", "pixels": "pixels", "looks": "looks (near-duplicates)"}


def _pair(pair: LeakPair) -> str:
    like = "" if pair.likeness is None else f" ({pair.likeness:.2f})"
    return f"{pair.kind}{like}: {_place(pair.first)} and {_place(pair.second)}"


def _place(place: ImagePlace) -> str:
    return f"{place.split} {place.file or f'{place.data} #{place.index}'}"
