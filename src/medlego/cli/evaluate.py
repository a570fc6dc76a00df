"""medlego evaluate"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from medlego.cli import checks, options
from medlego.cli.terminal import Terminal

if TYPE_CHECKING:
    from medlego.evaluation import Report
    from medlego.metrics import Interval


def command(
    terminal: Terminal,
    directory: options.Directory,
    data: options.TaskData,
    *,
    scoring: options.Scoring,
    csv: Annotated[
        Path | None,
        Option("--table", "--csv", help="Write every score to a table, .csv or .parquet."),
    ] = None,
    plot: Annotated[Path | None, Option(help="Write bars with intervals as PNG.")] = None,
    report: Annotated[Path | None, Option(help="Write all results as one HTML page.")] = None,
    no_examples: Annotated[
        bool, Option("--no-examples", help="Leave images of errors out of the page.")
    ] = False,
    force: options.Force = False,
    reading: options.Reading,
    compute: options.Compute,
) -> None:
    """Score a generalist beside its specialists and linear probes, with 95 % intervals.

    Example:
        medlego evaluate generalist --data brain=brain/ --report report.html
        medlego evaluate generalist --data chest=chest.csv --table scores.csv
    """
    from medlego.evaluation import evaluate, find_examples, plot_report
    from medlego.generalist import Generalist, utc_now
    from medlego.support import table_suffix

    for output in (csv, plot, report):
        if output is not None:
            checks.refuse_existing(output, force)
    if csv is not None:
        table_suffix(csv)
    generalist = Generalist.load(directory)
    base, place = compute.find(generalist.base), compute.place
    with terminal.progress() as show:
        result = evaluate(
            generalist,
            reading.read_all(generalist.tasks, data, show),
            base=base,
            split=scoring.split,
            resamples=scoring.resamples,
            seed=scoring.seed,
            device=place,
            show=show,
        )
        if report is not None:
            examples = (
                {}
                if no_examples
                else find_examples(result, generalist, base=base, device=place, show=show)
            )
            result.save(report, examples=examples, written=utc_now())
    show_report(terminal, result)
    if report is not None:
        terminal.say(f"wrote {report}{'' if no_examples else ', with images of errors in it'}")
    if plot is not None:
        plot_report(result, plot, title=f"generalist {generalist.recipe.digest[:12]}")
        terminal.say(f"wrote {plot}")
    if csv is not None:
        result.save(csv)
        terminal.say(f"wrote {csv}")
    terminal.emit(result.as_dict())


def show_report(terminal: Terminal, report: Report) -> None:
    """Print a report as one table per task, narrow enough for eighty columns."""
    blocks: dict[str, Any] = {}
    for row in report.rows:
        blocks.setdefault(f"{row.task}: {row.images} images", {})[row.model] = row.scores
    if len(blocks) > 1:
        blocks["mean over tasks"] = report.means
    terminal.say(f"{report.split} split, 95 % bootstrap intervals")
    for title, models in blocks.items():
        rows = [
            (_short(model), *_compact(scores, "accuracy", "balanced_accuracy", "auroc"))
            for model, scores in models.items()
        ]
        terminal.table(("model", "accuracy", "balanced acc.", "AUROC"), rows, title)
    normalised = [(_short(model), str(value)) for model, value in report.normalised.items()]
    terminal.table(("model", "normalised balanced accuracy"), normalised)
    if report.routing:
        columns = tuple(next(iter(report.routing.values())))
        routed = [(name, *map(str, counts.values())) for name, counts in report.routing.items()]
        title = "routing: images of each task, by the task that answers them"
        terminal.table(("images of", *columns), routed, title)
    _show_probabilities(terminal, report)
    _show_thresholds(terminal, report)
    _show_groups(terminal, report)
    terminal.note(*dict.fromkeys(note.partition(": ")[2] for note in report.notes))


def _show_probabilities(terminal: Terminal, report: Report) -> None:
    """How well the generalist's and the specialists' probabilities are calibrated."""
    rows = [
        (
            row.task,
            _short(row.model),
            *_compact(row.scores, "brier", "rms_calibration_error"),
            row.state,
        )
        for row in report.rows
        if row.model in ("generalist", "specialist")
    ]
    columns = ("task", "model", "Brier score", "calibration error", "calibration")
    title = "probabilities; calibration error: root mean square, debiased"
    terminal.table(columns, rows, title)


def _show_thresholds(terminal: Terminal, report: Report) -> None:
    """Sensitivity and specificity at the generalist's operating points."""
    rows = []
    for name, detail in report.tasks.items():
        limits = detail.answers["generalist"].thresholds
        if limits is not None:
            rows += [
                (name, label, f"{limit:.3f}", *_compact(scores, "sensitivity", "specificity"))
                for (label, scores), limit in zip(
                    detail.labels.items(), limits.tolist(), strict=True
                )
            ]
    columns = ("task", "label", "threshold", "sensitivity", "specificity")
    terminal.table(columns, rows, "at the generalist's thresholds")


def _show_groups(terminal: Terminal, report: Report) -> None:
    rows = [
        (
            name,
            f"{row.group} {row.value}",
            f"{row.images}{' (few)' * row.small}",
            *_compact(row.scores, "balanced_accuracy", "auroc"),
        )
        for name, detail in report.tasks.items()
        for row in detail.groups
    ]
    columns = ("task", "subgroup", "images", "balanced acc.", "AUROC")
    terminal.table(columns, rows, "the generalist by subgroup")


def _short(model: str) -> str:
    return model.replace("base with specialist's head", "base + its head")


def _compact(scores: Mapping[str, Interval], *names: str) -> list[str]:
    """`.850 [.817–.883]` for each of these scores: three such columns fit a terminal."""
    return [_interval(scores[name]) for name in names]


def _interval(score: Interval) -> str:
    if not math.isfinite(score.value):
        return "undefined"
    value, low, high = (
        "1.00" if round(x, 3) >= 1 else f"{x:.3f}".removeprefix("0")
        for x in (score.value, score.low, score.high)
    )
    return f"{value} [{low}–{high}]"
