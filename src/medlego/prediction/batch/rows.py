"""What a job's table holds: one row per image and task, or one that says why there is no answer."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from medlego.prediction.answers import Answer, Prediction
from medlego.prediction.routing import Route

Row = dict[str, Any]

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "position": pl.Int64,
    "image": pl.String,
    "outcome": pl.String,
    "task": pl.String,
    "kind": pl.String,
    "label": pl.String,
    "probabilities": pl.List(
        pl.Struct(
            {
                "label": pl.String,
                "probability": pl.Float64,
                "threshold": pl.Float64,
                "answered": pl.Boolean,
            }
        )
    ),
    "calibration": pl.String,
    "bricks": pl.List(pl.String),
    "routed": pl.Boolean,
    "atypical": pl.Boolean,
    "route_probability": pl.Float64,
    "none_probability": pl.Float64,
    "ood_score": pl.Float64,
    "reason": pl.String,
    "applied": pl.List(pl.String),
}
SCHEMA = pl.Schema(_COLUMNS)
"""The columns; docs/many-images.md says what each means."""

ANSWERED, ABSTAINED, UNREADABLE = "answered", "abstained", "unreadable"
"""What `outcome` is."""


def rows_of(
    position: int, prediction: Prediction, bricks: Mapping[str, tuple[str, ...]]
) -> list[Row]:
    """One row per answer, or the one of an abstention.

    Args:
        position: the image's place in the job, from 0.
        prediction: what `predict` says of it.
        bricks: per task the digests of the bricks whose deltas answer for it.
    """
    row = {
        "position": position,
        "image": spelled(prediction.image),
        "applied": list(prediction.applied),
        **_of_route(prediction.route),
    }
    if not prediction.answers:
        return [{**row, "outcome": ABSTAINED}]
    return [
        {
            **row,
            "outcome": ANSWERED,
            "task": answer.task.name,
            "kind": str(answer.task.kind),
            **_of_answer(answer),
            "bricks": list(bricks[answer.task.name]),
            **_of_task(prediction.route, answer.task.name),
        }
        for answer in prediction.answers
    ]


def unreadable_row(position: int, name: str, why: str) -> Row:
    """The row of an image that cannot be read."""
    return {
        "position": position,
        "image": spelled(name),
        "outcome": UNREADABLE,
        "reason": spelled(why),
    }


def table_bytes(rows: Sequence[Row]) -> bytes:
    """Rows as a Parquet file."""
    content = io.BytesIO()
    as_table(rows).write_parquet(content)
    return content.getvalue()


def as_table(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a table; a column that a row does not have is null there."""
    return pl.DataFrame(rows, schema=SCHEMA, infer_schema_length=None)


def flat(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The same for a format without lists: one row per image, task and label of it."""
    return (
        rows.drop("label")
        .explode("probabilities")
        .unnest("probabilities")
        .with_columns(pl.col("bricks", "applied").list.join("; "))
    )


def spelled(text: str) -> str:
    """A file's name as text, bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _of_route(route: Route | None) -> Row:
    if route is None:
        return {}
    return {
        "none_probability": route.none,
        "ood_score": min(route.ood_scores.values()),
        "reason": route.reason or None,
    }


def _of_task(route: Route | None, task: str) -> Row:
    if route is None or task not in route.probs:
        return {"ood_score": None}
    return {
        "routed": task in route.tasks,
        "atypical": task in route.atypical,
        "route_probability": route.probs[task],
        "ood_score": route.ood_scores[task],
    }


def _of_answer(answer: Answer) -> Row:
    labels, answered = answer.task.labels, answer.labels
    behind = len(labels) - len(answer.thresholds)
    thresholds = [None] * behind + list(answer.thresholds)
    return {
        "label": answered[0] if answer.task.rules.exclusive else None,
        "probabilities": [
            {"label": name, "probability": prob, "threshold": limit, "answered": name in answered}
            for name, prob, limit in zip(labels, answer.probs, thresholds, strict=True)
        ],
        "calibration": answer.state,
    }
