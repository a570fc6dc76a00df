"""Pictures: a report as bars with intervals, a comparison of bricks as a heat map."""

from __future__ import annotations

import io
import math
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlego.evaluation.report.charts import as_svg, styled
from medlego.evaluation.result import MODELS, Report
from medlego.merge import BrickPair, Diagnosis
from medlego.metrics import SCORES, Interval
from medlego.support import write_atomically

_COLOURS = ("#1b6ca8", "#8fb8d9", "#7fb069", "#c9c9c9", "#e6aa68")
COLOURS = dict(zip(MODELS, _COLOURS, strict=True))


def plot_report(report: Report, path: str | Path, *, title: str = "", note: str = "") -> None:
    """Write one PNG: balanced accuracy per task and in the mean, with 95 % intervals.

    Args:
        report: what `evaluate` returned.
        path: the PNG to write.
        title: a line above the picture.
        note: a line below it, for example where the images came from.
    """
    figure = _bars(report)
    (axes,) = figure.axes
    axes.set_title(title, loc="left", fontsize=11)
    if note:
        axes.text(0, -0.13, note, transform=axes.transAxes, fontsize=8, color="#555555")
    _save(figure, path)


@styled
def report_bars(report: Report) -> str:
    """The same bars as SVG text."""
    return as_svg(_bars(report))


def _bars(report: Report) -> Figure:
    groups = len({row.task for row in report.rows}) + 1
    figure = Figure(figsize=(max(7.0, 1.0 + 1.7 * groups), 4.6), layout="constrained")
    draw_scores(figure.add_subplot(), report)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_scores(axes: Axes, report: Report, score: str = "balanced_accuracy") -> None:
    """Bars of one of the `MAIN_SCORES` for each model, by task and in the mean."""
    tasks = list(dict.fromkeys(row.task for row in report.rows))
    models = [model for model in MODELS if model in report.means]
    groups = [*tasks, "mean"]
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        values = [_score(report, model, group, score) for group in groups]
        places = [i + (number - (len(models) - 1) / 2) * width for i in range(len(groups))]
        heights = [v.value for v in values]
        whiskers = (
            [max(0.0, v.value - v.low) for v in values],
            [max(0.0, v.high - v.value) for v in values],
        )
        axes.bar(places, heights, width * 0.92, color=COLOURS[model], label=model)
        axes.errorbar(places, heights, whiskers, fmt="none", ecolor="#333333", elinewidth=1)
    axes.axvline(len(tasks) - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [fill(name, 16) for name in groups])
    axes.set_ylim(0, 1)
    axes.set_ylabel(f"{SCORES[score].title} ({report.split}, 95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)


def plot_diagnosis(diagnosis: Diagnosis, path: str | Path, *, most: int = 24) -> None:
    """Write one PNG: overlap of inputs and outputs and cosine, a row per pair, a column per target.

    Args:
        diagnosis: what `diagnose` returned.
        path: the PNG to write.
        most: rows at most; the pairs with the largest cosines are shown.
    """
    ranked = sorted(diagnosis.pairs, key=lambda pair: -abs(pair.total_cosine))[:most]
    names = [f"{pair.first} · {pair.second}" for pair in ranked]
    height = 1.6 + 3 * (0.35 + 0.24 * len(ranked))
    figure = Figure(figsize=(max(7.0, 2.5 + 0.3 * len(diagnosis.targets)), height))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(3, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, field, colours, low) in zip(panels, _PANELS, strict=True):
        cells = [[_cell(pair, field, target) for target in diagnosis.targets] for pair in ranked]
        limit = max((abs(c) for row in cells for c in row if c == c), default=0.0) or 1.0
        image = axes.imshow(cells, aspect="auto", cmap=colours, vmin=low * limit, vmax=limit)
        figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_title(title, loc="left", fontsize=10)
    panels[-1].set_xticks(range(len(diagnosis.targets)), diagnosis.targets, rotation=90, fontsize=7)
    if len(ranked) < len(diagnosis.pairs):
        left_out = len(diagnosis.pairs) - len(ranked)
        figure.supxlabel(f"{left_out} further pairs, of smaller cosine, are not shown", fontsize=8)
    _save(figure, path)


_PANELS = (
    ("overlap of input directions, 0 to 1", "input_overlap", "viridis", 0.0),
    ("overlap of output directions, 0 to 1", "output_overlap", "viridis", 0.0),
    ("cosine of the deltas, −1 to 1", "cosine", "RdBu_r", -1.0),
)


def _cell(pair: BrickPair, field: str, target: str) -> float:
    values: dict[str, float] = getattr(pair, field)
    return values.get(target, math.nan)


def _save(figure: Figure, path: str | Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    write_atomically(Path(path), stream.getvalue())


def _score(report: Report, model: str, group: str, score: str) -> Interval:
    if group == "mean":
        return report.means[model][score]
    (row,) = (r for r in report.rows if (r.model, r.task) == (model, group))
    return row.scores[score]
