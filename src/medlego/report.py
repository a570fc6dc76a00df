"""A report as a picture: bars with intervals per task and model."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medlego.evaluation import MODELS, Report
from medlego.files import write_atomically
from medlego.metrics import Interval

COLOURS = {
    MODELS[0]: "#1b6ca8",
    MODELS[1]: "#7fb069",
    MODELS[2]: "#c9c9c9",
    MODELS[3]: "#e6aa68",
}


def plot_report(report: Report, path: str | Path, *, title: str = "", note: str = "") -> None:
    """Write one PNG: balanced accuracy per task and in the mean, with 95 % intervals.

    Args:
        report: what `evaluate` returned.
        path: the PNG to write.
        title: a line above the picture.
        note: a line below it, for example where the images came from.
    """
    tasks = list(dict.fromkeys(row.task for row in report.rows))
    models = [model for model in MODELS if model in report.means]
    groups = [*tasks, "mean"]
    figure = Figure(figsize=(max(7.0, 1.0 + 1.7 * len(groups)), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        values = [_balanced(report, model, group) for group in groups]
        places = [i + (number - (len(models) - 1) / 2) * width for i in range(len(groups))]
        heights = [v.value for v in values]
        whiskers = (
            [max(0.0, v.value - v.low) for v in values],
            [max(0.0, v.high - v.value) for v in values],
        )
        axes.bar(places, heights, width * 0.92, color=COLOURS[model], label=model)
        axes.errorbar(places, heights, whiskers, fmt="none", ecolor="#333333", elinewidth=1)
    axes.axvline(len(tasks) - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 1)
    axes.set_ylabel(f"balanced accuracy ({report.split}, 95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=len(models), frameon=False, fontsize=9)
    if note:
        axes.text(0, -0.13, note, transform=axes.transAxes, fontsize=8, color="#555555")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    write_atomically(Path(path), stream.getvalue())


def _balanced(report: Report, model: str, group: str) -> Interval:
    if group == "mean":
        return report.means[model]["balanced_accuracy"]
    (row,) = (r for r in report.rows if (r.model, r.task) == (model, group))
    return row.scores["balanced_accuracy"]
