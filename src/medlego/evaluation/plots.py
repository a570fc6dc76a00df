"""Curves and bars of a report for notebooks and papers, on matplotlib's axes."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib import rc_context
from matplotlib.axes import Axes

from medlego.errors import SettingsError
from medlego.evaluation.report.charts import (
    draw_confusion,
    draw_groups,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    shares,
)
from medlego.evaluation.report.pictures import draw_scores
from medlego.evaluation.result import GENERALIST, Report, TaskDetail
from medlego.metrics import MAIN_SCORES, Curves, Sample, confusion, curves, reliability


def plot_scores(
    report: Report, *, score: str = "balanced_accuracy", ax: Axes | None = None
) -> Axes:
    """A score of every model on every task and in the mean, as bars with 95 % intervals.

    Args:
        report: what `evaluate` returned.
        score: `accuracy`, `balanced_accuracy` or `auroc`.
        ax: where to draw; new axes when left out, here and below.

    Raises:
        SettingsError: another score.
    """
    _one_of("score", score, MAIN_SCORES)
    axes = _axes(ax)
    draw_scores(axes, report, score)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    return axes


def plot_roc(
    report: Report,
    task: str | None = None,
    *,
    model: str = GENERALIST,
    ax: Axes | None = None,
) -> Axes:
    """ROC curves of a model on the images that it answers, each label against the rest.

    Args:
        report: what `evaluate` returned.
        task: may be left out where the report has one, here and below.
        model: `generalist`, `specialist` or another of the report's, here and below.
        ax: where to draw.

    Raises:
        SettingsError: no such task or model, or no label with images on both sides.
    """
    lines = _curves(_sample(_detail(report, task), model))
    axes = _axes(ax)
    draw_roc(axes, lines)
    return _with_legend(axes, len(lines))


def plot_precision_recall(
    report: Report,
    task: str | None = None,
    *,
    model: str = GENERALIST,
    ax: Axes | None = None,
) -> Axes:
    """Precision over recall; a faint line is the label's share of the images.

    Raises:
        SettingsError: as `plot_roc`.
    """
    sample = _sample(_detail(report, task), model)
    lines = _curves(sample)
    axes = _axes(ax)
    draw_precision_recall(axes, lines, shares(sample, lines))
    return _with_legend(axes, len(lines))


def plot_reliability(
    report: Report,
    task: str | None = None,
    *,
    model: str = GENERALIST,
    ax: Axes | None = None,
) -> Axes:
    """How often it was true against the probability stated, with 95 % intervals.

    Raises:
        SettingsError: as `plot_roc`.
    """
    diagrams = reliability(_sample(_detail(report, task), model))
    axes = _axes(ax)
    draw_reliability(axes, diagrams)
    return _with_legend(axes, len(diagrams))


def plot_confusion(
    report: Report,
    task: str | None = None,
    *,
    label: str | None = None,
    model: str = GENERALIST,
    ax: Axes | None = None,
) -> Axes:
    """Counts of images, rows the truth; `label` says which, where several may hold at once.

    Raises:
        SettingsError: as `plot_roc`, or no such label.
    """
    detail = _detail(report, task)
    exclusive = detail.task.rules.exclusive
    matrices = confusion(_sample(detail, model))
    if exclusive and label is not None:
        raise SettingsError(f"label: expected none for a {detail.task.kind} task, got {label!r}")
    name = detail.task.name if exclusive else _one_of("label", label, matrices)
    axes = _axes(ax)
    draw_confusion(axes, matrices[name], detail.task.labels if exclusive else ("absent", "present"))
    return _plain_ticks(axes)


def plot_groups(
    report: Report,
    task: str | None = None,
    *,
    score: str = "balanced_accuracy",
    ax: Axes | None = None,
) -> Axes:
    """The generalist's score in each subgroup with its interval; the line is all images.

    Raises:
        SettingsError: no such task or score, or no subgroups.
    """
    detail = _detail(report, task)
    if not detail.groups:
        raise SettingsError(f"{detail.task.name}: expected data with groups, got none")
    _one_of("score", score, detail.groups[0].scores)
    own = next(r for r in report.rows if (r.task, r.model) == (detail.task.name, GENERALIST))
    axes = _axes(ax)
    draw_groups(axes, detail.groups, score, own.scores[score])
    return _plain_ticks(axes)


def _detail(report: Report, task: str | None) -> TaskDetail:
    return report.tasks[_one_of("task", task, report.tasks)]


def _sample(detail: TaskDetail, model: str) -> Sample:
    sample = detail.sample(_one_of("model", model, detail.answers))
    if not len(sample):
        raise SettingsError(f"{detail.task.name}: expected images that {model} answers, got none")
    return sample


def _curves(sample: Sample) -> tuple[Curves, ...]:
    lines = curves(sample)
    if not lines:
        raise SettingsError(
            f"{sample.task.name}: expected images with and without a label, got one side alone"
        )
    return lines


def _one_of(what: str, chosen: str | None, known: Iterable[str]) -> str:
    """What is chosen, or the only one there is."""
    names = list(known)
    if chosen is None and len(names) == 1:
        return names[0]
    if chosen not in names:
        raise SettingsError(f"{what}: expected one of {', '.join(names)}, got {chosen!r:.60}")
    return chosen


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.figure(layout="constrained").add_subplot()


def _with_legend(axes: Axes, entries: int) -> Axes:
    if entries > 1:
        with rc_context({"text.parse_math": False}):
            axes.legend(frameon=False, fontsize="small")
    return axes


def _plain_ticks(axes: Axes) -> Axes:
    """Dollars in names of labels and groups stay dollars."""
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    return axes
