"""What an evaluation found: rows of scores, details of each task, and both as JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medlego.data import Samples, Task
from medlego.metrics import (
    LEVEL,
    Comparison,
    GroupRow,
    Interval,
    Sample,
    State,
    ece_floor,
    reliability,
)
from medlego.prediction import TaskAnswers
from medlego.support import ShortRepr, plain

MODELS = (
    "generalist",
    "merged, task given",
    "specialist",
    "base with specialist's head",
    "linear probe",
)
GENERALIST, MERGED, SPECIALIST, BARE_BASE, PROBE = MODELS


@dataclass(frozen=True)
class ModelScores:
    """One model's scores on one task, and whether its probabilities are calibrated."""

    model: str
    task: str
    images: int
    scores: Mapping[str, Interval]
    state: State = "none"


@dataclass(frozen=True, eq=False)
class TaskDetail:
    """One task's images and answers, for curves and examples, and the generalist's finer scores.

    `labels` has its scores per label, `areas` DeLong's interval of each label's AUROC, `groups` its
    rows by subgroup, `comparison` its differences to the specialist on the same draws.
    """

    task: Task
    samples: Samples
    answers: Mapping[str, TaskAnswers]
    labels: Mapping[str, Mapping[str, Interval]]
    areas: Mapping[str, Interval]
    groups: tuple[GroupRow, ...]
    comparison: Comparison
    notes: tuple[str, ...] = ()

    def sample(self, model: str = GENERALIST) -> Sample:
        """A model's answers to the images that it answers: what curves and diagrams are made of."""
        return self.answers[model].sample(self.task, self.samples)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers about groups of images, none about one image."""
        thresholds = self.answers[GENERALIST].thresholds
        names = [column.label for column in self.sample().columns]
        limits = None if thresholds is None else dict(zip(names, thresholds.tolist(), strict=True))
        point = self.answers[GENERALIST].operating
        return {
            "calibration": self.answers[GENERALIST].state,
            "ece_floor": plain(ece_floor(self.sample())),
            "thresholds": limits,
            "operating_point": None if point is None else {"aim": point.aim, "value": point.value},
            "labels": {
                label: plain({**scores, "auroc_delong": self.areas[label]})
                for label, scores in self.labels.items()
            },
            "subgroups": plain(self.groups),
            "minus_specialist": plain(self.comparison),
            "reliability": plain(reliability(self.sample())),
        }


@dataclass(frozen=True, repr=False)
class Report(ShortRepr):
    """Rows per model and task, their means over the tasks, and each task's details.

    The generalist's row is what `predict` answers when no task is named: an image that it routes
    elsewhere, or does not answer, counts as wrong; scores of calibrated probabilities
    (`metrics.PROBABILISTIC`) are of the images that it answers. `normalised` is the mean over tasks
    of balanced accuracy over the specialist's; a task of several sites has their mean for one.
    """

    split: str
    resamples: int
    seed: int
    rows: tuple[ModelScores, ...]
    means: Mapping[str, Mapping[str, Interval]]
    normalised: Mapping[str, Interval]
    notes: tuple[str, ...]
    routing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Per task that images can be routed to, where its own images went."""
    tasks: Mapping[str, TaskDetail] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON: intervals as value, low, high."""
        return {
            "split": self.split,
            "resamples": self.resamples,
            "seed": self.seed,
            "level": LEVEL,
            "rows": [
                {
                    "model": row.model,
                    "task": row.task,
                    "images": row.images,
                    "positive": self._positive(row.task),
                    "calibration": row.state,
                    **plain(row.scores),
                }
                for row in self.rows
            ],
            "means": plain(self.means),
            "normalised_balanced_accuracy": plain(self.normalised),
            "routing": plain(self.routing),
            "tasks": plain(self.tasks),
            "notes": list(self.notes),
        }

    def as_csv(self) -> str:
        """One line per score: of every model, and of the generalist also by label and subgroup.

        An undefined number is empty.
        """
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            (
                *("task", "model", "part", "images", "score", "value", "low", "high"),
                *("undefined", "positive"),
            )
        )
        for task, *where, scores in self._parts():
            positive = self._positive(task) or ""
            for name, score in scores.items():
                numbers = (score.value, score.low, score.high)
                cells = ["" if math.isnan(x) else repr(x) for x in numbers]
                writer.writerow([task, *where, name, *cells, score.undefined, positive])
        return stream.getvalue()

    def _positive(self, task: str) -> str | None:
        return self.tasks[task].task.positive if task in self.tasks else None

    def _parts(self) -> Iterator[tuple[str, str, str, int, Mapping[str, Interval]]]:
        for row in self.rows:
            yield row.task, row.model, "", row.images, row.scores
        for name, detail in self.tasks.items():
            columns = {column.label: column for column in detail.sample().columns}
            for label, scores in detail.labels.items():
                yield name, GENERALIST, f"label={label}", int(columns[label].known.sum()), scores
            for group in detail.groups:
                part = f"{group.group}={group.value}"
                yield name, GENERALIST, part, group.images, group.scores
