"""Rows of `benchmarks.adapt`: scores with intervals, differences, epochs to a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from benchmarks.adapt_jobs import Job, Run
from benchmarks.adapt_pictures import continued
from benchmarks.common import SETS, dataset
from benchmarks.scoring import BOOTSTRAP_SEED, summary
from medlego.metrics import RESAMPLES, Replicates, Sample, score_replicates
from medlego.train import DEFAULT_STARTS
from medlego.train.adapt import CHOICES

TARGET = 0.95
"""Share of the control's final score that counts as reached."""
CHOSEN = "chosen on validation"
REPEATED = "plain, the best of three"
REPEATS = (1, 2)
"""Further trainings of the plain start from other seeds, on the same few images a class."""
MEAN = "mean"


def rows(runs: Mapping[str, Run], seeds: Sequence[int], few: Sequence[int]) -> list[dict[str, Any]]:
    """A row per number of images, new task and start, and per start the mean over the tasks.

    Seeds are averaged. `CHOSEN` is what `adapt` returns: of each seed the start that is best on
    validation, among those that it tries by default. `REPEATED`, with few images, is the
    control for the choice itself: as many plain trainings, the best on validation.
    """
    table = []
    for count in (0, *few):
        tasks = {new: _contenders(runs, seeds, count, new) for new in SETS}
        for by_start in tasks.values():
            table += [_row(start, by_start) for start in by_start]
        for start in next(iter(tasks.values())):
            row = {"new": MEAN, "few": count, "start": start}
            table.append(row | compare(start, list(tasks.values())))
    return table


def _contenders(
    runs: Mapping[str, Run], seeds: Sequence[int], count: int, new: str
) -> dict[str, list[Run]]:
    """Of each start, and of the choices, a run a seed."""
    contenders = with_choice(
        {start: [runs[Job(seed, count, new, start).name] for seed in seeds] for start in CHOICES}
    )
    again = [
        [runs[Job(seed, count, new, "plain", again=number).name] for seed in seeds]
        for number in REPEATS * (count > 0)
    ]
    if again:
        contenders[REPEATED] = _best(contenders["plain"], *again)
    return contenders


def with_choice(runs: Mapping[str, list[Run]]) -> dict[str, list[Run]]:
    """Runs a start, and `CHOSEN` after them."""
    return {**runs, CHOSEN: _best(*(runs[start] for start in DEFAULT_STARTS))}


def _best(*candidates: Sequence[Run]) -> list[Run]:
    """Of every seed's runs the one that validation prefers."""
    return [
        max(runs, key=lambda run: float(run["validation"]))
        for runs in zip(*candidates, strict=True)
    ]


def compare(start: str, tasks: Sequence[Mapping[str, Sequence[Run]]]) -> dict[str, Any]:
    """Mean over tasks of a start's score, and of what it has more than its controls."""
    own = _mean_over_tasks(start, tasks)
    scores = {
        "balanced_accuracy": summary(own),
        "minus_plain": summary(own - _mean_over_tasks("plain", tasks)),
    }
    if start == CHOSEN and REPEATED in tasks[0]:
        scores["minus_repeated"] = summary(own - _mean_over_tasks(REPEATED, tasks))
    return scores


def _mean_over_tasks(start: str, tasks: Sequence[Mapping[str, Sequence[Run]]]) -> Replicates:
    return Replicates.mean([over_seeds(by_start[start]) for by_start in tasks])


def over_seeds(tried: Sequence[Run]) -> Replicates:
    """Mean over seeds."""
    return Replicates.mean([replicates(run) for run in tried])


def replicates(run: Run) -> Replicates:
    """Test balanced accuracy at the best epoch."""
    return _replicates(run["new"], run["hits"])


@cache
def _replicates(new: str, hits: str) -> Replicates:
    """Each set has draws of its own, so that a mean over sets has them independent."""
    task, labels = dataset(new).task, dataset(new).test.labels
    right = np.array([hit == "1" for hit in hits])
    sure = np.eye(len(task.labels))[labels]
    probs = np.where(right[:, None], sure, task.rules.wrong_answers(labels))
    seed = BOOTSTRAP_SEED + list(SETS).index(new)
    scores = score_replicates(Sample(task, probs, labels), resamples=RESAMPLES, seed=seed)
    return scores["balanced_accuracy"]


def final(run: Run) -> float:
    """Test balanced accuracy at the best epoch."""
    return float(replicates(run).values[0])


def _row(start: str, by_start: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    tried = by_start[start]
    row = {
        "new": tried[0]["new"],
        "few": tried[0]["few"],
        "start": start,
        "images": tried[0]["images"],
        "epochs": tried[0]["epochs"],
        **compare(start, [by_start]),
        "per_seed": [round(final(run), 4) for run in tried],
        "rank": tried[0]["rank"],
    }
    if start == CHOSEN:
        row["chosen"] = [run["start"] for run in tried]
    return row if tried[0]["few"] else row | _epochs(tried, by_start["plain"])


def _epochs(tried: Sequence[Run], control: Sequence[Run]) -> dict[str, Any]:
    targets = [TARGET * curve_of(run)[run["best_epoch"]] for run in control]
    curves = [curve_of(run) for run in tried]
    longest = max(len(curve) for curve in curves)
    mean = np.mean([continued(curve, longest) for curve in curves], axis=0)
    return {
        "epochs_to_target": [epochs_to(t, c) for t, c in zip(targets, curves, strict=True)],
        "epochs_to_target_of_mean": epochs_to(float(np.mean(targets)), mean.tolist()),
    }


def epochs_to(target: float, curve: Sequence[float]) -> int | None:
    """The first epoch whose test score reaches a target; 0 is the fitted head alone."""
    return next((number for number, score in enumerate(curve) if score >= target), None)


def curve_of(run: Run) -> list[float]:
    """Test scores from epoch 0 on, NaN where there is none."""
    return [*[float("nan")] * run["first_epoch"], *run["curve"]]


def curves(
    runs: Mapping[str, Run], seeds: Sequence[int]
) -> dict[str, dict[str, list[list[float]]]]:
    """Per new task and start one curve a seed, of training on all images."""
    return {
        new: {s: [curve_of(runs[Job(seed, 0, new, s).name]) for seed in seeds] for s in CHOICES}
        for new in SETS
    }
