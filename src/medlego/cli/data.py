"""medlego data check | remember | sample"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from medlego.cli import checks, options
from medlego.cli.terminal import Terminal
from medlego.errors import CheckError, SettingsError

if TYPE_CHECKING:
    from medlego.data import Fingerprints, ImagePlace, LeakPair, LeakReport
    from medlego.support import Progress

_LISTED = 20


def check_command(
    terminal: Terminal,
    data: Annotated[list[str], Argument(metavar="DATA…", help=f"Data sets: {options.DATA_HELP}")],
    *,
    sidecar: Annotated[
        list[Path] | None, Option(help="What data remember wrote of training images; repeatable.")
    ] = None,
    key: Annotated[Path | None, Option(help="The key of these sidecars.")] = None,
    whole: Annotated[
        bool,
        Option("--whole", help="Count every image as a test image, as evaluate --split all does."),
    ] = False,
    kind: options.Kind = None,
    reading: options.Reading,
) -> None:
    """Find images and patients on both sides of a split, between data sets, or trained on before.

    Compares patient ids and exact pixels, and finds near-duplicates: images moved, scaled,
    cropped, slightly rotated, mirrored, brightened or recompressed. Counts labels, hints at
    misspelt ones and lists contradicting ones. Names no patient. Exit code 1 if something leaks.

    Example:
        medlego data check chest.csv
        medlego data check train/ test/ --json leaks.json
    """
    from medlego.data import Memory, SiteKey, check_leaks

    secret = None if key is None else SiteKey.load(key)
    if sidecar and secret is None:
        raise SettingsError("--sidecar: expected the key that it was written with; pass --key")
    memories = [] if secret is None else [Memory.load(path, secret) for path in sidecar or []]
    with terminal.progress() as show:
        sets = [_fingerprints(terminal, text, kind, reading, show) for text in data]
        report = check_leaks(sets, memories, secret, whole=whole, show=show)
    _show(terminal, report)
    terminal.emit(report.as_dict())
    if report.leaks:
        raise CheckError(
            f"data check: expected nothing on both sides, got {len(report.leaks)} pairs that leak; "
            "move or drop these images, or split by patient (leave the split column out)"
        )


def remember_command(
    terminal: Terminal,
    data: options.Data,
    output: Annotated[Path, Option("--output", "-o", help="Sidecar file to write.")],
    key: Annotated[Path, Option(help="The site's key; made if there is none.")],
    *,
    split: Annotated[
        list[str] | None,
        Option(help="{medlego.data:SPLITS}; repeatable. train and val by default, as in training."),
    ] = None,
    kind: options.Kind = None,
    reading: options.Reading,
    force: options.Force = False,
) -> None:
    """Keep what a later check needs of a brick's training images; the file stays at the site.

    Pass the --data-seed of the training. docs/security.md says what the file reveals.

    Example:
        medlego data remember chest.csv -o chest.sidecar --key site.key
    """
    from medlego.data import Memory, SiteKey

    checks.refuse_existing(output, force)
    splits = tuple(dict.fromkeys(split or ("train", "val")))
    secret = SiteKey.load(key, make=True)
    with terminal.progress() as show:
        memory = Memory.of(_fingerprints(terminal, data, kind, reading, show, splits), secret)
        memory.save(output)
    size = output.stat().st_size / 1e6
    terminal.say(f"wrote {output}: {len(memory)} images of {', '.join(splits)} ({size:.2f} MB)")
    terminal.say(f"keep it and {key} at the site, in different places")
    terminal.emit({"output": str(output), "images": len(memory), "splits": list(splits)})


def sample_command(
    terminal: Terminal,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="New or empty folder to fill.")],
    *,
    images: Annotated[int, Option(help="Images of each task.")] = 300,
    size: Annotated[int, Option(help="Rows and columns in pixels.")] = 96,
    seed: Annotated[int, Option(min=0, help="Random seed; another one is another site.")] = 0,
) -> None:
    """Write synthetic images of four tasks, to try everything with before own data are at hand.

    Three are folders of PNG with a sub-folder per label, the fourth is DICOM files with a table of
    labels, from two sites. medlego draws them; they say nothing about real images.

    Example:
        medlego data sample sample
    """
    from medlego.data import write_samples

    with terminal.progress() as show:
        sources = write_samples(folder, images=images, size=size, seed=seed, show=show)
    for name, source in sources.items():
        terminal.say(f"{name}: {source}")
    terminal.emit({name: str(source) for name, source in sources.items()})


def _fingerprints(
    terminal: Terminal,
    text: str,
    kind: str | None,
    reading: options.Reading,
    show: Progress,
    splits: tuple[str, ...] = ("train", "val", "test"),
) -> Fingerprints:
    from medlego.data import Fingerprints, describe, join

    hints = options.TaskOptions(kind=kind).hints(text)
    dataset = reading.read(text, hints, show, keep_torn=True, needs=())
    terminal.note(*(f"{text}: {note}" for note in dataset.notes))
    whole = join([dataset.split(split) for split in splits])
    counts = describe(whole, dataset.task.labels).items()
    terminal.say(f"{text}: " + ", ".join(f"{count:,} {label}" for label, count in counts))
    fingerprints = Fingerprints.of(text, dataset, splits=splits, show=show)
    terminal.note(*(f"{text}: {note}" for note in fingerprints.notes))
    return fingerprints


def _show(terminal: Terminal, report: LeakReport) -> None:
    """Print what is shared between which splits, then the first pairs."""
    several = len({place.data for pair in report.pairs for place in (pair.first, pair.second)}) > 1
    rows = []
    for (kind, *sides), (first, second) in sorted(report.counts().items()):
        one, other = (f"{sides[i]}: {sides[i + 1]}" if several else sides[i + 1] for i in (0, 2))
        rows.append((kind, one, str(first), other, str(second)))
    terminal.table(("same", "in", "images", "and in", "images"), rows)
    for title, pairs in (("leak", report.leaks), ("contradicting labels", report.conflicts)):
        for pair in pairs[:_LISTED]:
            terminal.say(f"{title}: {_pair(pair)}")
        if len(pairs) > _LISTED:
            terminal.say(f"{title}: {len(pairs) - _LISTED} more; --json FILE lists all")
    terminal.say(
        f"{report.images} images: {len(report.leaks)} pairs leak, "
        f"{len(report.conflicts)} contradict each other in labels"
    )


def _pair(pair: LeakPair) -> str:
    likeness = "" if pair.likeness is None else f" ({pair.likeness:.2f})"
    return f"{pair.kind}{likeness}: {_place(pair.first)} and {_place(pair.second)}"


def _place(place: ImagePlace) -> str:
    return f"{place.split} {place.file or f'{place.data} #{place.index}'}"
