"""medlego evaluate"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import BaseWeights, DataSeed, Device, JsonFile, LabelsMap
from medlego.cli.reading import read_task_data
from medlego.cli.shared import refuse_nowhere, resolve_device

if TYPE_CHECKING:
    from medlego.evaluation import Report
    from medlego.metrics import Interval


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    data: Annotated[list[str], typer.Option(metavar="TASK=DATA", help="Labelled images.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    json: JsonFile = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write every score as a line of CSV, by label and subgroup.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write bars with intervals as PNG.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all of it as one HTML page.")
    ] = None,
    no_examples: Annotated[
        bool, typer.Option("--no-examples", help="Leave images of errors out of the page.")
    ] = False,
    base_weights: BaseWeights = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap replicates.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
) -> None:
    """Score a generalist beside its specialists and linear probes, with 95 % intervals."""
    from medlego.base import Base
    from medlego.evaluation import evaluate
    from medlego.generalist import Generalist

    options: Options = context.obj
    for output in (json, csv, plot, report):
        if output is not None:
            refuse_nowhere(output)
    generalist = Generalist.load(directory)
    base, place = Base.find(generalist.base, weights=base_weights), resolve_device(device)
    with progress(options) as show:
        found = evaluate(
            generalist,
            read_task_data(
                generalist.tasks, data, seed=data_seed, labels_map=labels_map, show=show
            ),
            base=base,
            split=split,
            resamples=resamples,
            seed=seed,
            device=place,
            show=show,
        )
        if report is not None:
            from medlego.evaluation import find_examples, write_page
            from medlego.generalist import utc_now

            shown = (
                {}
                if no_examples
                else find_examples(found, generalist, base=base, device=place, show=show)
            )
            write_page(found, report, generalist=generalist, examples=shown, written=utc_now())
    show_report(options, found)
    if report is not None:
        say(options, f"wrote {report}{'' if no_examples else ', with images of errors in it'}")
    if plot is not None:
        from medlego.evaluation import plot_report

        plot_report(found, plot, title=f"generalist {generalist.recipe.digest[:12]}")
        say(options, f"wrote {plot}")
    if csv is not None:
        from medlego.support import write_atomically

        write_atomically(csv, found.as_csv().encode())
        say(options, f"wrote {csv}")
    of = {
        "generalist": generalist.recipe.digest,
        "bricks": {c.task.name: [b.digest for b in c.bricks] for c in generalist.capabilities},
    }
    emit(options, of | found.as_dict(), json)


def show_report(options: Options, report: Report) -> None:
    """Print a report as one table per task, narrow enough for eighty columns."""
    scores = ("accuracy", "balanced_accuracy", "auroc")
    blocks: dict[str, Any] = {}
    for row in report.rows:
        blocks.setdefault(f"{row.task}: {row.images} images", {})[row.model] = row.scores
    blocks["mean over tasks"] = report.means
    say(options, f"{report.split} split, 95 % bootstrap intervals")
    for title, models in blocks.items():
        rows = [
            (SHORT.get(model, model), *(_compact(found[score]) for score in scores))
            for model, found in models.items()
        ]
        show_table(options, ("model", "accuracy", "balanced acc.", "AUROC"), rows, title)
    kept = [(SHORT.get(model, model), str(value)) for model, value in report.normalised.items()]
    show_table(options, ("model", "normalised balanced accuracy"), kept)
    if report.routing:
        columns = tuple(next(iter(report.routing.values())))
        routed = [(name, *map(str, counts.values())) for name, counts in report.routing.items()]
        title = "task not told: where its images were sent"
        show_table(options, ("images of", *columns), routed, title)
    _show_probabilities(options, report)
    _show_thresholds(options, report)
    _show_groups(options, report)
    for note in dict.fromkeys(note.partition(": ")[2] for note in report.notes):
        say(options, f"note: {note}")


def _show_probabilities(options: Options, report: Report) -> None:
    """How far the generalist's and the specialists' probabilities can be taken at their word."""
    rows = [
        (
            row.task,
            SHORT.get(row.model, row.model),
            *(_compact(row.scores[name]) for name in ("brier", "rms_calibration_error")),
            row.state,
        )
        for row in report.rows
        if row.model in ("generalist", "specialist")
    ]
    heads = ("task", "model", "Brier score", "calibration error", "calibration")
    show_table(options, heads, rows, "probabilities; calibration error: root mean square, debiased")


def _show_thresholds(options: Options, report: Report) -> None:
    """Sensitivity and specificity at the generalist's operating points."""
    rows = []
    for name, detail in report.tasks.items():
        limits = detail.answers["generalist"].thresholds
        if limits is None:
            continue
        for (label, found), limit in zip(detail.labels.items(), limits.tolist(), strict=True):
            told = (_compact(found[score]) for score in ("sensitivity", "specificity"))
            rows.append((name, label, f"{limit:.3f}", *told))
    if rows:
        heads = ("task", "label", "above", "sensitivity", "specificity")
        show_table(options, heads, rows, "answers by the generalist's thresholds")


def _show_groups(options: Options, report: Report) -> None:
    rows = [
        (
            name,
            f"{row.group} {row.value}",
            f"{row.images}{' (few)' * row.small}",
            *(_compact(row.scores[score]) for score in ("balanced_accuracy", "auroc")),
        )
        for name, detail in report.tasks.items()
        for row in detail.groups
    ]
    if rows:
        heads = ("task", "subgroup", "images", "balanced acc.", "AUROC")
        show_table(options, heads, rows, "the generalist by subgroup")


SHORT = {"base with specialist's head": "base + its head"}


def _compact(found: Interval) -> str:
    """`.850 [.817–.883]`: three such columns fit a terminal."""
    if not math.isfinite(found.value):
        return "undefined"
    value, low, high = (
        "1.00" if round(x, 3) >= 1 else f"{x:.3f}".removeprefix("0")
        for x in (found.value, found.low, found.high)
    )
    return f"{value} [{low}–{high}]"
