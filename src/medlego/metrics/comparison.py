"""Two models on the same images: differences with intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from medlego.data import Kind, Task
from medlego.metrics.bootstrap import LEVEL, RESAMPLES, Interval, interval
from medlego.metrics.delong import areas
from medlego.metrics.sample import Column, Sample
from medlego.metrics.scores import score_names, score_replicates
from medlego.support import ShortRepr


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of one label, or of all together.

    `name` is `delong` (AUROCs are equal; by patient where ids are known) or `mcnemar` (exact: equal
    chances of being the only one who is right). `difference` is first minus second. The p-value is
    NaN where the test is undefined: one side is missing, or McNemar's with several images of a
    patient, which are not independent.
    """

    name: str
    label: str
    difference: float
    p_value: float


@dataclass(frozen=True, repr=False)
class Comparison(ShortRepr):
    """First minus second model, score by score, and the tests."""

    images: int
    differences: Mapping[str, Interval]
    tests: tuple[PairedTest, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; undefined numbers become null."""
        return {
            "images": self.images,
            "differences": {name: found.as_dict() for name, found in self.differences.items()},
            "tests": [
                {k: None if v != v else v for k, v in vars(test).items()} for test in self.tests
            ],
        }


def compare(
    task: Task,
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    thresholds: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """Compare two models on the same images.

    Args:
        task: says how probabilities and labels are read.
        first, second: (N, labels) probabilities.
        labels, patients: as in `score_replicates`.
        names: scores to compare, all of the task's by default.
        thresholds: of the first and of the second, see `decide`.
        resamples, seed: both models are scored on the same draws, so an interval is of the
            difference itself.
        level: of the intervals.
    """
    drawn = [
        score_replicates(
            task,
            probs,
            labels,
            patients=patients,
            resamples=resamples,
            seed=seed,
            names=names or score_names(task),
            thresholds=limits,
        )
        for probs, limits in zip((first, second), thresholds, strict=True)
    ]
    one, other = (
        Sample(task, probs, labels, patients, limits)
        for probs, limits in zip((first, second), thresholds, strict=True)
    )
    differences = {name: interval(drawn[0][name] - drawn[1][name], level) for name in drawn[0]}
    return Comparison(len(labels), differences, paired_tests(one, other))


def paired_tests(first: Sample, second: Sample) -> tuple[PairedTest, ...]:
    """DeLong's test of every label and McNemar's, of two models' answers to the same images."""
    pairs = list(zip(first.columns, second.columns, strict=True))
    areas_differ = [_delong(a, b, first.patients) for a, b in pairs]
    return (*areas_differ, *_mcnemar((first, second), pairs))


def _delong(a: Column, b: Column, patients: np.ndarray | None) -> PairedTest:
    ids = None if patients is None else patients[a.known]
    found = areas(np.stack([a.probs, b.probs]), a.positive, ids)
    difference = float(found.values[0] - found.values[1])
    (x, y), (_, z) = found.covariance
    variance = float(x - 2 * y + z)
    if variance > 1e-15:
        p_value = 2 * float(norm.sf(abs(difference) / math.sqrt(variance)))
    else:
        p_value = 1.0 if difference == 0 and not math.isnan(variance) else math.nan
    return PairedTest("delong", a.label, difference, p_value)


def _mcnemar(samples: Sequence[Sample], pairs: Sequence[tuple[Column, Column]]) -> list[PairedTest]:
    one, other = samples
    if one.task.kind is Kind.MULTILABEL:
        rights = [(a.label, a.given == a.positive, b.given == b.positive) for a, b in pairs]
    else:
        rights = [("all", one.answers == one.labels, other.answers == other.labels)]
    alone = one.patients is None or len(np.unique(one.patients)) == len(one)
    return [_exact(label, a, b, alone) for label, a, b in rights]


def _exact(label: str, first: np.ndarray, second: np.ndarray, independent: bool) -> PairedTest:
    if not len(first):
        return PairedTest("mcnemar", label, math.nan, math.nan)
    only = int((first & ~second).sum()), int((second & ~first).sum())
    difference, split = (only[0] - only[1]) / len(first), sum(only)
    p_value = math.nan
    if independent:
        p_value = float(binomtest(only[0], split).pvalue) if split else 1.0
    return PairedTest("mcnemar", label, difference, p_value)
