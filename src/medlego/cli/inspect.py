"""medlego inspect"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from medlego.cli import checks, options
from medlego.cli.summaries import calibration_line, scores_line, show_mode, show_sites
from medlego.cli.terminal import Terminal
from medlego.errors import MergeError

if TYPE_CHECKING:
    from medlego.bricks import Brick
    from medlego.generalist import Generalist

_RANKS = (1, 2, 4, 8, 16, 32, 64)


def command(
    terminal: Terminal,
    paths: Annotated[
        list[Path], Argument(metavar="BRICK… | DIR", help="Brick files or a generalist.")
    ],
    plot: Annotated[
        Path | None, Option(help="Write a heat map of how the bricks overlap as PNG.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Show what bricks or a generalist contain, and compare several bricks.

    Example:
        medlego inspect generalist
        medlego inspect brain.safetensors chest.safetensors --plot overlap.png
    """
    from medlego.bricks import load_bricks
    from medlego.evaluation import brick_facts, generalist_facts
    from medlego.generalist import Generalist

    if plot is not None:
        checks.refuse_existing(plot, force)
    directories = [path for path in paths if path.is_dir()]
    files = [path for path in paths if path not in directories]
    generalists, bricks = [Generalist.load(path) for path in directories], load_bricks(files)
    for path, generalist in zip(directories, generalists, strict=True):
        _show_generalist(terminal, path, generalist)
    for path, brick in zip(files, bricks, strict=True):
        _show_brick(terminal, path, brick)
    if plot is not None and len(bricks) < 2:
        raise MergeError(f"--plot: expected at least two bricks to compare, got {len(bricks)}")
    facts = [generalist_facts(g) for g in generalists] + [brick_facts(b) for b in bricks]
    if len(bricks) > 1:
        facts.append(_compare(terminal, bricks, plot))
    terminal.emit(facts)


def _show_brick(terminal: Terminal, path: Path, brick: Brick) -> None:
    from medlego.evaluation import curve_line

    line = curve_line(brick.card).replace(": ", ", ")
    training = line.split(", ") if line else []  # short rows, so that no other one is folded
    ranks = sorted({delta.rank for delta in brick.deltas.values()})
    rows = [
        ("task", f"{brick.task.name} ({brick.task.kind})"),
        ("labels", ", ".join(brick.task.labels)),
        *([("positive label", brick.task.positive)] if brick.task.positive else []),
        ("modality, body part", f"{brick.task.modality or '?'}, {brick.task.body_part or '?'}"),
        ("base", f"{brick.base.name} at {brick.base.image_size} px"),
        ("base fingerprint", brick.base.fingerprint),
        ("delta parameters", f"{brick.delta_parameters:,} ({brick.share:.3%} of the base)"),
        ("targets", f"{len(brick.targets)} of rank {', '.join(map(str, ranks))}"),
        ("head parameters", f"{brick.head.weight.numel() + brick.head.bias.numel():,}"),
        ("norm", f"{sum(d.norm() ** 2 for d in brick.deltas.values()) ** 0.5:.4g}"),
        ("validation", scores_line(brick.card.scores) or "?"),
        *(("" if n else "training", part) for n, part in enumerate(training)),
        ("grams", _grams(brick)),
        ("profile", _profile(brick)),
        ("calibration", calibration_line(brick.calibration, brick.task, brick.missing_thresholds)),
        ("data", brick.card.data or "?"),
        ("licence", brick.card.licence or "?"),
        ("digest", brick.digest),
    ]
    terminal.table((str(path), ""), rows)


def _grams(brick: Brick) -> str:
    if not brick.grams:
        return "none"
    gram = next(iter(brick.grams.values()))
    return f"of {len(brick.grams)} modules, {gram.directions} directions, {gram.images} images"


def _profile(brick: Brick) -> str:
    if (profile := brick.profile) is None:
        return "none"
    noise = "no noise"
    if profile.noise is not None:
        noise = f"noise of epsilon {profile.noise.epsilon:g}, delta {profile.noise.delta:g}"
    return f"of {profile.images} images after block {profile.blocks}, {noise}"


def _compare(terminal: Terminal, bricks: list[Brick], plot: Path | None) -> dict[str, Any]:
    from medlego.evaluation import plot_diagnosis
    from medlego.merge import diagnose
    from medlego.train import refit_notes

    try:
        diagnosis = diagnose(bricks)
    except MergeError as error:
        if plot is not None:
            raise
        terminal.say(f"not compared, since they cannot be merged: {error}")
        return {"type": "comparison", "refused": str(error)}
    rows = [
        (
            f"{pair.first} · {pair.second}",
            f"{pair.total_cosine:.3f}",
            *(
                f"{fmean(values.values()):.3f}" if values else "-"
                for values in (pair.input_overlap, pair.output_overlap, pair.sign_conflict)
            ),
        )
        for pair in diagnosis.pairs
    ]
    columns = ("bricks", "cosine", "overlap of inputs", "of outputs", "sign conflicts")
    terminal.table(columns, rows)
    losses = diagnosis.cut_losses.items()
    cuts = ", ".join(f"{loss:.1%} at rank {rank}" for rank, loss in losses if rank in _RANKS)
    terminal.say(f"truncation of their sum would lose {cuts}")
    for warning in diagnosis.warnings:
        terminal.say(f"warning: {warning}")
    notes = refit_notes(bricks)
    terminal.note(*notes)
    if plot is not None:
        plot_diagnosis(diagnosis, plot)
        terminal.say(f"wrote {plot}")
    return {"type": "comparison", **diagnosis.as_dict(), "notes": list(notes)}


def _show_generalist(terminal: Terminal, path: Path, generalist: Generalist) -> None:
    from medlego.prediction import working_readers

    recipe, base = generalist.recipe, generalist.base
    terminal.say(f"{path}: generalist {recipe.digest[:12]}")
    terminal.say(
        f"base {base.name} at {base.image_size} px, method {recipe.method}, "
        f"slope {recipe.slope:g}, truncation lost {generalist.relative_loss:.2%}"
    )
    show_mode(terminal, generalist)
    sites = Counter(item.task for item in recipe.bricks)
    rows = [
        (
            item.task,
            ", ".join(brick.task.labels),
            f"{item.coefficient:.4g}",
            item.digest[:12],
            f"refitted {item.head[:12]}"
            if item.head
            else ("its own" if sites[item.task] == 1 else "its sites' mean"),
        )
        for item, brick in zip(recipe.bricks, generalist.bricks, strict=True)
    ]
    terminal.table(("task", "labels", "coefficient", "brick", "head"), rows)
    readers = working_readers(generalist).items()
    states = ", ".join(f"{name} {reader.state}" for name, reader in readers)
    terminal.say(f"calibration: {states}")
    show_sites(terminal, generalist)
