"""An evaluation as one HTML page that needs nothing else: tables, charts, lineage, fingerprints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from medlego.data import describe, fingerprint
from medlego.errors import SettingsError
from medlego.evaluation.report import charts
from medlego.evaluation.report.examples import Example
from medlego.evaluation.report.pictures import report_bars
from medlego.evaluation.result import GENERALIST, Report, TaskDetail
from medlego.metrics import MAIN_SCORES, SCORES, GroupRow, confusion, curves, ece_floor, reliability
from medlego.support import write_atomically


@dataclass(frozen=True)
class Chart:
    """A picture on the page: SVG text, what it shows in words, and the line below it."""

    svg: str
    alt: str
    caption: str


def write_page(
    report: Report,
    path: str | Path,
    *,
    examples: Mapping[str, Sequence[Example]] | None = None,
    title: str = "",
    written: str = "",
) -> None:
    """Write the page.

    Args:
        report: what `evaluate` returned.
        path: the HTML file to write.
        examples: per task, images of the most confident errors; they stand in the page as they are.
        title: its heading; the names of the tasks when left out.
        written: when, as the page shall say it; nothing by default, so that pages repeat.

    Raises:
        SettingsError: a report that `evaluate` did not make.
    """
    if report.generalist is None:
        raise SettingsError(f"{path}: expected a report that evaluate made, got one without it")
    environment = Environment(
        loader=PackageLoader("medlego.evaluation.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"title_of": lambda name: SCORES[name].title, "uri": _uri}
    text = environment.get_template("page.html").render(
        title=title or f"Generalist for {', '.join(report.tasks)}",
        written=written,
        report=report,
        generalist=report.generalist,
        own=GENERALIST,
        mean_names=MAIN_SCORES,
        summary_chart=Chart(
            report_bars(report),
            "Balanced accuracy of every model on every task, with intervals",
            f"Balanced accuracy on {report.split}, with 95 % intervals.",
        ),
        tasks=[_task(report, name) for name in report.tasks],
        images=sum(len(detail.samples) for detail in report.tasks.values()),
        examples=examples or {},
        version=version("medlego"),
    )
    write_atomically(Path(path), text.encode())


def _uri(content: str | bytes, kind: str) -> str:
    data = content.encode() if isinstance(content, str) else content
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _task(report: Report, name: str) -> dict[str, Any]:
    """What the page shows of a task beside the report's own values."""
    detail = report.tasks[name]
    samples = detail.samples
    return {
        "name": name,
        "detail": detail,
        "rows": [row for row in report.rows if row.task == name],
        "charts": _charts(detail),
        "groups": [(_group_name(row), row.scores) for row in detail.groups],
        "group_chart": _group_chart(report, detail),
        "ece_floor": ece_floor(detail.sample()),
        "patients": None if samples.patients is None else len(np.unique(samples.patients)),
        "by_label": describe(samples, detail.task.labels),
        "fingerprint": fingerprint(samples),
    }


def _charts(detail: TaskDetail) -> list[Chart]:
    """Of the images that the generalist answers."""
    sample = detail.sample()
    if not len(sample):
        return []
    drawn = []
    if lines := curves(sample):
        drawn += [
            Chart(
                charts.svg(charts.draw_roc, lines),
                "ROC curves",
                "ROC, each label against the rest.",
            ),
            Chart(
                charts.svg(charts.draw_precision_recall, lines, charts.shares(sample, lines)),
                "Precision-recall curves",
                "Precision and recall; faint lines: the label's share of the images.",
            ),
        ]
    drawn.append(
        Chart(
            charts.svg(charts.draw_reliability, reliability(sample)),
            "Reliability diagram",
            "How often the answer was true against the probability stated; below the diagonal the "
            "model is overconfident.",
        )
    )
    exclusive = detail.task.rules.exclusive
    for label, counts in confusion(sample).items():
        names = detail.task.labels if exclusive else ("absent", "present")
        what = f"Confusion matrix{'' if exclusive else f' of {label}'}"
        size = 1.6 + 0.42 * len(names), 1.3 + 0.42 * len(names)
        picture = charts.svg(charts.draw_confusion, counts, names, size=size)
        drawn.append(Chart(picture, what, f"{what}; rows are the truth."))
    return drawn


def _group_name(row: GroupRow) -> str:
    people = "" if row.patients is None else f", {row.patients} patients"
    return f"{row.group}: {row.value} ({row.images} images{people}){' *' if row.small else ''}"


def _group_chart(report: Report, detail: TaskDetail) -> Chart | None:
    if not detail.groups:
        return None
    own = next(row for row in report.rows if row.task == detail.task.name)
    score, size = "balanced_accuracy", (5.2, 0.9 + 0.27 * len(detail.groups))
    return Chart(
        charts.svg(charts.draw_groups, detail.groups, score, own.scores[score], size=size),
        "Balanced accuracy by subgroup",
        "Balanced accuracy by subgroup; the line is all images, open dots are small groups.",
    )
