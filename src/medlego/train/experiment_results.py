"""What an experiment came to: every score in one CSV, and means over seeds in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from medlego.support import ShortRepr, csv_text, parse_object

MAIN_SCORE = "balanced_accuracy"
MERGED_MODELS = ("generalist", "merged, task given")
"""Models that depend on the method; the others are the same whatever it is."""


@dataclass(frozen=True)
class Place:
    """One report of an experiment."""

    seed: int
    method: str
    split: str

    def report(self, folder: Path) -> Path:
        """Its file as JSON; the same as CSV lies beside it."""
        return folder / "reports" / f"{self.method}-seed{self.seed}-{self.split}.json"


@dataclass(frozen=True, repr=False)
class ExperimentScore(ShortRepr):
    """One score of one model on one task, with its 95 % interval; None is undefined."""

    seed: int
    method: str
    split: str
    task: str
    model: str
    score: str
    value: float | None
    low: float | None
    high: float | None
    images: int


@dataclass(frozen=True, repr=False)
class ExperimentResult(ShortRepr):
    """Every score, and what failed; `untouched` where it was finished before."""

    folder: Path = field(repr=False)
    scores: tuple[ExperimentScore, ...]
    failures: tuple[str, ...]
    untouched: bool = False

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Columns and rows: balanced accuracy, the mean over tasks, then over seeds.

        Brackets hold the lowest and highest seed. A seed that lacks a task which others have is
        left out, and the cell says how many are in. What does not depend on the method stands once.
        """
        splits = tuple(dict.fromkeys(score.split for score in self.scores))
        tasks = {score.task for score in self.scores}
        cells: dict[tuple[str, str], dict[str, dict[int, dict[str, float | None]]]] = {}
        first: dict[int, str] = {}
        for score in self.scores:
            if score.score != MAIN_SCORE:
                continue
            method = score.method
            if score.model not in MERGED_MODELS:
                if first.setdefault(score.seed, method) != method:
                    continue
                method = "(no merge)"
            by_seed = cells.setdefault((method, score.model), {}).setdefault(score.split, {})
            by_seed.setdefault(score.seed, {})[score.task] = score.value
        rows = []
        for place, by_split in cells.items():
            seeds = {seed for by_seed in by_split.values() for seed in by_seed}
            numbers = (
                _cell(by_split.get(split, {}).values(), tasks, len(seeds)) for split in splits
            )
            rows.append((*place, str(len(seeds)), *numbers))
        rows.sort(key=lambda row: row[0] == "(no merge)")
        return ("method", "model", "seeds", *splits), rows


def _cell(seeds: Iterable[Mapping[str, float | None]], tasks: Set[str], count: int) -> str:
    """`0.812 [0.790–0.830]` over the seeds with all tasks; undefined if a task's score is."""
    whole = [values for values in seeds if values.keys() == tasks]
    few = f" ({len(whole)} of {count} seeds)" if len(whole) < count else ""
    means = []
    for values in whole:
        defined = [value for value in values.values() if value is not None]
        if len(defined) < len(values):
            return f"undefined{few}"
        means.append(fmean(defined))
    if not means:
        return f"none{few}"
    spread = f" [{min(means):.3f}–{max(means):.3f}]" if len(means) > 1 else ""
    return f"{fmean(means):.3f}{spread}{few}"


def read_scores(folder: Path, places: Sequence[Place]) -> tuple[ExperimentScore, ...]:
    """Every score of these reports."""
    return tuple(
        ExperimentScore(
            place.seed,
            place.method,
            place.split,
            row["task"],
            row["model"],
            name,
            score["value"],
            score["low"],
            score["high"],
            row["images"],
        )
        for place in places
        for row in parse_object(place.report(folder).read_bytes())["rows"]
        for name, score in _scores(row)
    )


def _scores(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, value) for name, value in row.items() if isinstance(value, dict)]


def results_csv(scores: Sequence[ExperimentScore]) -> str:
    """One line per score; an undefined number is empty."""
    return csv_text(ExperimentScore.__dataclass_fields__, (vars(s).values() for s in scores))


def summary(result: ExperimentResult) -> str:
    """The table in Markdown, how to read it, and what failed."""
    columns, rows = result.table()
    lines = [
        "# Results",
        "",
        "Balanced accuracy: mean over tasks, then over seeds; in brackets the lowest and highest",
        "seed. A seed that lacks a task is not in the mean. Choose among methods by val alone: a",
        "choice by test makes its test score too high.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)),
    ]
    if result.failures:
        lines += ["", "## Failed", "", *(f"- {failure}" for failure in result.failures)]
    return "\n".join(lines) + "\n"
