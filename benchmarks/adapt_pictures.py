"""Pictures of `benchmarks.adapt`: test scores against epochs, and against images a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    figure = Figure(figsize=(3.0 * len(curves), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, by_start) in zip(panels, curves.items(), strict=True):
        for start, seeds in by_start.items():
            longest = max(len(curve) for curve in seeds)
            held = np.array([continued(curve, longest) for curve in seeds])
            epochs = np.arange(longest)
            for curve in seeds:
                axes.plot(range(len(curve)), curve, color=COLOURS[start], alpha=0.25, linewidth=0.7)
            axes.plot(epochs, held.mean(axis=0), color=COLOURS[start], label=start)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("epochs")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("balanced accuracy (test)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def continued(curve: Sequence[float], length: int) -> list[float]:
    """A curve that ended early goes on at its last value."""
    return [*curve, *[curve[-1]] * (length - len(curve))]


def plot_images(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel a set: test score at the best epoch against images a class, with intervals."""
    sets = list(dict.fromkeys(row["new"] for row in rows))
    figure = Figure(figsize=(3.0 * len(sets), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    sizes = [*sorted({row["few"] for row in rows} - {0}), 0]
    for axes, name in zip(panels, sets, strict=True):
        for offset, (start, colour) in enumerate(COLOURS.items()):
            found = {
                row["few"]: row["balanced_accuracy"]
                for row in rows
                if row["new"] == name and row["start"] == start
            }
            places = [i + 0.06 * (offset - 2) for i, size in enumerate(sizes) if size in found]
            values = [found[size] for size in sizes if size in found]
            middle = [value["value"] for value in values]
            bars = [
                [max(0.0, v["value"] - v["interval"][0]) for v in values],
                [max(0.0, v["interval"][1] - v["value"]) for v in values],
            ]
            axes.errorbar(
                places,
                middle,
                bars,
                color=colour,
                label=start,
                marker="o",
                markersize=3,
                linewidth=1,
            )
        axes.set_xticks(range(len(sizes)), [str(size or "all") for size in sizes])
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("images a class")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("balanced accuracy (test, 95 %)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
