"""Charts of one task's answers as SVG text: curves, reliability, confusion, groups.

Text stays text, colours differ in lightness too, and equal numbers give equal bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from medlego.metrics import Curves, Diagram, GroupRow, Interval, Sample

COLOURS = ("#1b6ca8", "#d1793b", "#4f8f4a", "#8a5aa5", "#a8323a", "#5b5b5b", "#b59a2b", "#2f8f9d")
"""Of curves, in turn; with more than these, `STYLES` tell them apart."""
STYLES = ("-", "--", ":")
INK = "#222222"
FAINT = "#bbbbbb"

_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medlego",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


P = ParamSpec("P")


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw with these settings, whatever matplotlib's are elsewhere."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with matplotlib.rc_context(_LOOK):
            return draw(*args, **kwargs)

    return drawn


@styled
def svg(draw: Callable[..., None], *values: Any, size: tuple[float, float] = (3.4, 3.3)) -> str:
    """A chart that one of the functions below draws; several curves have a legend below it."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    draw(axes, *values)
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        names = [fill(label, 36) for label in labels]
        columns = 2 if max(map(len, labels)) <= 18 else 1
        lines = sum(name.count("\n") + 1 for name in names)
        figure.set_figheight(size[1] + 0.17 * math.ceil(lines / columns) + 0.1)
        look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": 8}
        figure.legend(handles, names, loc="outside lower center", **look)
    return as_svg(figure)


def draw_roc(axes: Axes, curves: Sequence[Curves]) -> None:
    """Sensitivity over the share of false alarms, a curve a label."""
    _frame(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    for number, curve in enumerate(curves):
        axes.plot(
            1 - curve.specificity,
            curve.sensitivity,
            **_line(number),
            label=in_legend(curve.label),
        )
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")


def shares(sample: Sample, lines: Sequence[Curves]) -> list[float]:
    """Of the images, each curve's label's."""
    positive = {column.label: float(column.positive.mean()) for column in sample.columns}
    return [positive[line.label] for line in lines]


def draw_precision_recall(axes: Axes, curves: Sequence[Curves], shares: Sequence[float]) -> None:
    """Precision over sensitivity, a curve a label; a faint line is the label's share of images.

    Args:
        axes: where to draw.
        curves: one a label.
        shares: of each label among the images, what a model that knows nothing attains.
    """
    _frame(axes)
    for number, (curve, share) in enumerate(zip(curves, shares, strict=True)):
        look = _line(number)
        axes.axhline(share, color=look["color"], linewidth=0.6, alpha=0.5)
        axes.step(
            curve.sensitivity, curve.precision, where="pre", **look, label=in_legend(curve.label)
        )
    axes.set_xlabel("sensitivity (recall)")
    axes.set_ylabel("precision")


def draw_reliability(axes: Axes, diagrams: Sequence[Diagram]) -> None:
    """How often it was true against the probability stated; areas of dots are numbers of images."""
    _frame(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    for number, diagram in enumerate(diagrams):
        bins = [b for b in diagram.bins if b.images]
        look = _line(number)
        at, true = [b.confidence for b in bins], [b.accuracy for b in bins]
        whiskers = [
            [max(0.0, b.accuracy - b.accuracy_low) for b in bins],
            [max(0.0, b.accuracy_high - b.accuracy) for b in bins],
        ]
        axes.errorbar(at, true, whiskers, fmt="none", ecolor=look["color"], elinewidth=0.8)
        axes.plot(at, true, **look, label=in_legend(diagram.label))
        most = max((b.images for b in bins), default=1)
        areas = [6 + 60 * b.images / most for b in bins]
        axes.scatter(at, true, s=areas, color=look["color"], zorder=3)
    axes.set_xlabel("probability stated")
    axes.set_ylabel("share that was true (95 %)")


def draw_confusion(axes: Axes, counts: np.ndarray, labels: Sequence[str]) -> None:
    """Counts of images, rows the truth; the shade is the share of the row."""
    _frame(axes)
    size = len(labels)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for row in range(size):
        for column in range(size):
            ink = "white" if shares[row, column] > 0.6 else INK
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=ink)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    names = [fill(label, 24) for label in labels]
    axes.set_xticks(range(size), names, rotation=35, ha="right")
    axes.set_yticks(range(size), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)


def draw_groups(axes: Axes, rows: Sequence[GroupRow], score: str, whole: Interval) -> None:
    """A score of each group with its interval, beside that of all images; small groups are open."""
    axes.axvline(whole.value, color=FAINT, linewidth=1)
    names = [fill(f"{row.group}: {row.value} ({row.images})", 36) for row in rows]
    for place, row in enumerate(rows):
        interval = row.scores[score]
        if not math.isfinite(interval.value):
            axes.text(0.02, place, "undefined", va="center", color="#777777")
            continue
        if math.isfinite(interval.low):
            axes.plot(
                [interval.low, interval.high], [place, place], color=COLOURS[0], linewidth=1.4
            )
        face = "white" if row.small else COLOURS[0]
        axes.plot(interval.value, place, "o", color=COLOURS[0], markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel(score.replace("_", " "))
    axes.spines[["top", "right"]].set_visible(False)


def _frame(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)


def _line(number: int) -> dict[str, Any]:
    style = STYLES[number // len(COLOURS) % len(STYLES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": style, "linewidth": 1.4}


def in_legend(label: str) -> str:
    """A label as legends show it: without U+200B before it they drop one that begins with `_`."""
    return f"\u200b{label}" if label.startswith("_") else label


def as_svg(figure: Figure) -> str:
    """The figure as SVG text without clock time, enlarged where something would be cut off."""
    stream = io.StringIO()
    figure.draw_without_rendering()  # lays it out
    box = Bbox.union([figure.bbox_inches, figure.get_tightbbox()])
    metadata = {"Date": None, "Creator": None}
    figure.savefig(stream, format="svg", metadata=metadata, bbox_inches=box)
    return stream.getvalue()
