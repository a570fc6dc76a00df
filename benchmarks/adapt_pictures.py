"""Pictures of `benchmarks.adapt` and `benchmarks.adapt_budgets`: test scores against epochs, images
a class, and epochs given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {
    "plain": "#777777",
    "head": "#c084b5",
    "merged": "#1b6ca8",
    "directions": "#e6aa68",
    "coefficients": "#7fb069",
}


def plot_epochs(curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], path: Path) -> None:
    """A panel a set: mean test curve of each start, the seeds as thin lines.

    Args:
        curves: per set and start one curve a seed, from epoch 0 on.
        path: the PNG to write.
    """
    figure, panels = _panels(list(curves), "epochs")
    for axes, by_start in zip(panels, curves.values(), strict=True):
        for start, seeds in by_start.items():
            longest = max(len(curve) for curve in seeds)
            scores = np.array([continued(curve, longest) for curve in seeds])
            epochs = np.arange(longest)
            for curve in seeds:
                axes.plot(range(len(curve)), curve, color=COLOURS[start], alpha=0.25, linewidth=0.7)
            axes.plot(epochs, scores.mean(axis=0), color=COLOURS[start], label=start)
    _save(figure, panels, "balanced accuracy (test)", path)


def continued(curve: Sequence[float], length: int) -> list[float]:
    """A curve that ended early goes on at its last value."""
    return [*curve, *[curve[-1]] * (length - len(curve))]


def plot_images(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel a set: test score at the best epoch against images a class, with intervals."""
    sets = list(dict.fromkeys(row["new"] for row in rows if "images" in row))
    figure, panels = _panels(sets, "images a class")
    sizes = [*sorted({row["few"] for row in rows} - {0}), 0]
    for axes, name in zip(panels, sets, strict=True):
        for offset, start in enumerate(COLOURS):
            scores = {
                row["few"]: row["balanced_accuracy"]
                for row in rows
                if row["new"] == name and row["start"] == start
            }
            places = [i + 0.06 * (offset - 2) for i, size in enumerate(sizes) if size in scores]
            values = [scores[size] for size in sizes if size in scores]
            _errors(axes, places, values, start)
        axes.set_xticks(range(len(sizes)), [str(size or "all") for size in sizes])
    _save(figure, panels, "balanced accuracy (test, 95 %)", path)


def plot_budgets(
    rows: Sequence[Mapping[str, Any]], whole: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    """A panel a set: test score against the epochs that training was given.

    Args:
        rows: of `benchmarks.adapt_budgets`.
        whole: per set the plain start's score in all its epochs, drawn as a line.
        path: the PNG to write.
    """
    figure, panels = _panels(list(whole), "epochs given")
    epochs = sorted({row["epochs"] for row in rows})
    starts = [start for start in COLOURS if any(row["start"] == start for row in rows)]
    for axes, (name, control) in zip(panels, whole.items(), strict=True):
        axes.axhline(control["value"], color=COLOURS["plain"], linestyle=":", linewidth=1)
        for offset, start in enumerate(starts):
            by_epochs = {r["epochs"]: r for r in rows if (r["new"], r["start"]) == (name, start)}
            places = [epochs.index(number) + 0.06 * (offset - 1.5) for number in by_epochs]
            scores = [row["balanced_accuracy"] for row in by_epochs.values()]
            _errors(axes, places, scores, start)
        axes.set_xticks(range(len(epochs)), [str(number) for number in epochs])
    _save(figure, panels, "balanced accuracy (test, 95 %)", path)


def _panels(names: Sequence[str], across: str) -> tuple[Figure, Sequence[Axes]]:
    """A row of panels with their titles, and what their x axis shows."""
    figure = Figure(figsize=(3.0 * len(names), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Sequence[Axes] = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(across)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _save(figure: Figure, panels: Sequence[Axes], up: str, path: Path) -> None:
    """With one legend below all panels."""
    panels[0].set_ylabel(up)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _errors(
    axes: Axes, places: Sequence[float], scores: Sequence[Mapping[str, Any]], start: str
) -> None:
    """A start's scores with their intervals, joined by a line."""
    bars = [
        [max(0.0, score["value"] - score["interval"][0]) for score in scores],
        [max(0.0, score["interval"][1] - score["value"]) for score in scores],
    ]
    axes.errorbar(
        places,
        [score["value"] for score in scores],
        bars,
        color=COLOURS[start],
        label=start,
        marker="o",
        markersize=3,
        linewidth=1,
    )
