"""What an evaluation found: rows of scores, details of each task, and both as JSON and CSV."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlego.data import Samples, Task
from medlego.errors import SettingsError
from medlego.generalist import Generalist
from medlego.metrics import (
    LEVEL,
    MAIN_SCORES,
    SCORES,
    Comparison,
    GroupRow,
    Interval,
    Sample,
    State,
    ece_floor,
    reliability,
)
from medlego.prediction import TaskAnswers
from medlego.support import ShortRepr, csv_text, data_frame, html_table, plain, write_atomically

if TYPE_CHECKING:
    import polars as pl

MODELS = (
    "generalist",
    "merged, task given",
    "specialist",
    "base with specialist's head",
    "linear probe",
)
GENERALIST, MERGED, SPECIALIST, BARE_BASE, PROBE = MODELS


_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("task", "model", "part"), str),
    "images": int,
    "score": str,
    **dict.fromkeys(("value", "low", "high"), float),
    "undefined": int,
    "positive": str,
}
"""Of a report as a table."""


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
    generalist: Generalist | None = field(default=None, repr=False)
    """What was evaluated."""

    def as_dict(self) -> dict[str, object]:
        """For JSON: intervals as value, low, high; by digest what was evaluated."""
        return {
            **self._identity(),
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
        return csv_text(_COLUMNS, ([line[name] for name in _COLUMNS] for line in self._lines()))

    def to_frame(self) -> Any:
        """The lines of `as_csv` as a data frame of pandas where it is installed, else of polars."""
        return data_frame(self._table())

    def save(
        self,
        path: str | Path,
        *,
        examples: Mapping[str, Sequence[Any]] | None = None,
        title: str = "",
        written: str = "",
    ) -> None:
        """Write the report; the path's ending decides: `.html`, `.json`, `.csv` or `.parquet`.

        Args:
            path: a new file, or one to replace.
            examples, title, written: of the page, see `medlego.evaluation.write_page`.

        Raises:
            SettingsError: another ending, or a page of a report that `evaluate` did not make.
            OSError: the place is not writable; an older file there stays whole.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".html":
            from medlego.evaluation.report.page import write_page

            write_page(self, path, examples=examples, title=title, written=written)
        elif suffix == ".json":
            text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"
            write_atomically(path, text.encode())
        elif suffix == ".csv":
            write_atomically(path, self.as_csv().encode())
        elif suffix == ".parquet":
            stream = io.BytesIO()
            self._table().write_parquet(stream)
            write_atomically(path, stream.getvalue())
        else:
            raise SettingsError(
                f"{path}: expected a name that ends in .html, .json, .csv or .parquet, got "
                f"{suffix or 'no ending'}"
            )

    def _repr_html_(self) -> str:
        """Main scores of every model on every task, and in the mean."""
        parts = [((row.task, row.model, str(row.images)), row.scores) for row in self.rows]
        parts += [(("mean", model, ""), scores) for model, scores in self.means.items()]
        rows = [(*where, *map(scores.get, MAIN_SCORES)) for where, scores in parts]
        titles = [SCORES[name].title for name in MAIN_SCORES]
        caption = f"Scores on the split {self.split}, with 95 % intervals"
        return html_table(caption, rows, ("task", "model", "images", *titles))

    def _identity(self) -> dict[str, object]:
        if self.generalist is None:
            return {}
        own = self.generalist.capabilities
        bricks = {one.task.name: [brick.digest for brick in one.bricks] for one in own}
        return {"generalist": self.generalist.recipe.digest, "bricks": bricks}

    def _table(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(list(self._lines()), schema=_COLUMNS)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """One per score, as `_COLUMNS` says; what is undefined is None."""
        for task, *where, scores in self._parts():
            positive = self._positive(task)
            for name, score in scores.items():
                numbers = (score.value, score.low, score.high)
                cells = [None if math.isnan(x) else float(x) for x in numbers]
                line = (task, *where, name, *cells, score.undefined, positive)
                yield dict(zip(_COLUMNS, line, strict=True))

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
