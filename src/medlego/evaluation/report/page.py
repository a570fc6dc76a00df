"""An evaluation as one HTML page that needs nothing else: tables, charts, lineage, fingerprints."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from medlego.data import Kind, describe, fingerprint
from medlego.evaluation.report import charts
from medlego.evaluation.report.examples import Example
from medlego.evaluation.report.pictures import report_bars
from medlego.evaluation.report.words import METHOD, score_title
from medlego.evaluation.result import MODELS, Report, TaskDetail
from medlego.generalist import Entry, Generalist
from medlego.metrics import (
    SCORES,
    Column,
    GroupRow,
    Interval,
    confusion,
    curves,
    ece_floor,
    reliability,
)
from medlego.support import write_atomically


@dataclass(frozen=True)
class Chart:
    """A picture on the page: a data URI, what it shows in words, and the line below it."""

    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Line:
    """One row of a table of scores; `own` marks the model that the page is about."""

    name: str
    scores: Mapping[str, Interval]
    own: bool = False


def write_page(
    report: Report,
    path: str | Path,
    *,
    generalist: Generalist,
    examples: Mapping[str, Sequence[Example]] | None = None,
    title: str = "",
    written: str = "",
) -> None:
    """Write the page.

    Args:
        report: what `evaluate` returned.
        path: the HTML file to write.
        generalist: what was evaluated.
        examples: per task, images of the worst errors; they stand in the page as they are.
        title: its heading; the names of the tasks when left out.
        written: when, as the page shall say it; nothing by default, so that pages repeat.
    """
    shown = examples or {}
    page = _environment().from_string(_part("page.html"))
    found = page.render(
        title=title or f"Generalist for {', '.join(report.tasks)}",
        written=written,
        style=_part("page.css"),
        lead=_lead(report, generalist),
        pictures_of_patients=any(shown.values()),
        summary_chart=Chart(
            _svg_uri(report_bars(report)),
            "Balanced accuracy of every model on every task, with intervals",
            f"Balanced accuracy on {report.split}, with 95 % intervals.",
        ),
        means=[Line(m, s, m == MODELS[0]) for m, s in report.means.items()],
        mean_names=SCORES,
        routing=report.routing,
        routing_names=list(dict.fromkeys(n for c in report.routing.values() for n in c)),
        notes=report.notes,
        tasks=[_task(report, name, shown.get(name, ())) for name in report.tasks],
        identity=_identity(generalist),
        bricks=_bricks(generalist),
        edits=[_edit(entry) for entry in generalist.lineage],
        method=METHOD,
        made_with=(
            f"Made by medlego {version('medlego')}; {report.resamples:,} bootstrap replicates, "
            f"seed {report.seed}."
        ),
    )
    write_atomically(Path(path), found.encode())


def _environment() -> Environment:
    made = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    made.filters["title_of"] = score_title
    return made


def _part(name: str) -> str:
    return (files("medlego.evaluation.report") / "templates" / name).read_text(encoding="utf-8")


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _svg_uri(svg: str) -> str:
    return _uri("svg+xml", svg.encode())


def _lead(report: Report, generalist: Generalist) -> str:
    own = report.means[MODELS[0]]["balanced_accuracy"]
    images = sum(len(detail.samples) for detail in report.tasks.values())
    alone = report.normalised[MODELS[0]]
    return (
        f"{len(report.tasks)} of {len(generalist.tasks)} tasks, {images:,} images of the split "
        f"{report.split!r}; {generalist.recipe.mode} mode. Mean balanced accuracy {own}, which is "
        f"{alone} of the specialists'."
    )


def _task(report: Report, name: str, examples: Sequence[Example]) -> dict[str, Any]:
    detail = report.tasks[name]
    rows = [row for row in report.rows if row.task == name]
    names = list(rows[0].scores)
    task, samples = detail.task, detail.samples
    counts = describe(samples, task.labels)
    people = None if samples.patients is None else len(np.unique(samples.patients))
    told = ", ".join(f"{label} {count:,}" for label, count in counts.items())
    return {
        "name": name,
        "lead": _about(detail),
        "models": [Line(row.model, row.scores, row.model == MODELS[0]) for row in rows],
        "names": names,
        "labels": [Line(label, found) for label, found in detail.labels.items()],
        "label_names": list(next(iter(detail.labels.values()), {})),
        "charts": _charts(detail),
        "calibration": _calibration(detail, rows[0].scores),
        "groups": [Line(_group_name(row), row.scores) for row in detail.groups],
        "group_names": list(detail.groups[0].scores) if detail.groups else [],
        "group_chart": _group_chart(detail, rows[0].scores),
        "examples": [_example(found) for found in examples],
        "saliency": next((found.method for found in examples), ""),
        "images": f"{len(samples):,}",
        "patients": "not stated" if people is None else f"{people:,}",
        "by_label": told,
        "fingerprint": fingerprint(samples),
    }


def _about(detail: TaskDetail) -> str:
    task = detail.task
    stated = [part for part in (task.modality, task.body_part) if part]
    where = f" ({', '.join(stated)})" if stated else ""
    return f"{str(task.kind).capitalize()}{where}: {', '.join(task.labels)}."


def _charts(detail: TaskDetail) -> list[Chart]:
    """Of the images that the generalist answers."""
    sample = detail.sample()
    if not len(sample):
        return []
    found, columns = curves(sample), {column.label: column for column in sample.columns}
    made = []
    if found:
        shares = [_share(columns[curve.label]) for curve in found]
        made += [
            Chart(_svg_uri(charts.roc(found)), "ROC curves", "ROC, each label against the rest."),
            Chart(
                _svg_uri(charts.precision_recall(found, shares)),
                "Precision-recall curves",
                "Precision and recall; faint lines: the label's share of the images.",
            ),
        ]
    made.append(
        Chart(
            _svg_uri(charts.reliability(reliability(sample))),
            "Reliability diagram",
            "How often the answer was true against the probability stated; below the diagonal the "
            "model is too sure.",
        )
    )
    multilabel = detail.task.kind is Kind.MULTILABEL
    for label, counts in confusion(sample).items():
        names = ("absent", "present") if multilabel else detail.task.labels
        what = f"Confusion matrix{f' of {label}' if multilabel else ''}"
        caption = f"{what}: images, rows the truth."
        made.append(Chart(_svg_uri(charts.confusion(counts, names)), what, caption))
    return made


def _share(column: Column) -> float:
    return float(column.positive.mean())


def _calibration(detail: TaskDetail, scores: Mapping[str, Interval]) -> str:
    answers = detail.answers[MODELS[0]]
    words = {
        "calibrated": "Probabilities are calibrated on validation images.",
        "stale": (
            "Probabilities are not calibrated: the calibration in the brick was fitted to the "
            "brick alone, not to this merge."
        ),
        "none": "Probabilities are not calibrated.",
    }
    parts = [
        words[answers.state],
        f"ECE {scores['ece']}; a perfectly calibrated model would show about "
        f"{ece_floor(detail.sample()):.3f} by chance.",
    ]
    if (point := detail.operating) is not None and answers.thresholds is not None:
        limits = ", ".join(f"{limit:.3f}" for limit in answers.thresholds)
        parts.append(f"Thresholds {limits}, chosen for a {point.aim} of {point.value:g}.")
    return " ".join(parts)


def _group_name(row: GroupRow) -> str:
    people = "" if row.patients is None else f", {row.patients} patients"
    return f"{row.group}: {row.value} ({row.images} images{people}){' *' if row.small else ''}"


def _group_chart(detail: TaskDetail, scores: Mapping[str, Interval]) -> Chart | None:
    if not detail.groups:
        return None
    svg = charts.groups(detail.groups, "balanced_accuracy", scores["balanced_accuracy"])
    caption = "Balanced accuracy by subgroup; the line is that of all images, open dots are small."
    return Chart(_svg_uri(svg), "Balanced accuracy by subgroup", caption)


def _example(found: Example) -> dict[str, str]:
    return {
        "image": _uri("png", found.image),
        "overlay": _uri("png", found.overlay),
        "caption": found.caption,
    }


def _identity(generalist: Generalist) -> Iterable[tuple[str, str, bool]]:
    """Name, value, and whether it is to be read letter by letter."""
    recipe, base = generalist.recipe, generalist.base
    return [
        ("recipe", recipe.digest, True),
        ("mode", recipe.mode, False),
        ("method", recipe.method, False),
        ("base", f"{base.name} at {base.image_size} px", False),
        ("base's fingerprint", base.fingerprint, True),
        ("base's licence", base.licence or "not stated", False),
    ]


def _bricks(generalist: Generalist) -> list[dict[str, str]]:
    return [
        {
            "task": brick.task.name,
            "digest": brick.digest,
            "images": f"{sum(brick.card.images.get('train', {}).values()):,}",
            "data": brick.card.data or "not stated",
            "licence": brick.card.licence or "not stated",
        }
        for brick in generalist.bricks
    ]


def _edit(entry: Entry) -> dict[str, str]:
    signed = "" if entry.signature is None else f", signed by key {entry.signature['key'][:16]}…"
    return {
        "what": entry.action,
        "when": entry.when or "not stated",
        "by": f"{entry.by or 'not stated'}{signed}",
    }
