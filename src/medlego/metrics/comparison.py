"""Two models on the same images: differences with intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from medlego.metrics.bootstrap import Interval
from medlego.metrics.delong import areas
from medlego.metrics.sample import Column, Sample
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
            "differences": {name: own.as_dict() for name, own in self.differences.items()},
            "tests": [
                {k: None if v != v else v for k, v in vars(test).items()} for test in self.tests
            ],
        }


def paired_tests(first: Sample, second: Sample) -> tuple[PairedTest, ...]:
    """DeLong's test of every label and McNemar's, of two models' answers to the same images."""
    pairs = list(zip(first.columns, second.columns, strict=True))
    if first.task.rules.exclusive:
        right = [("all", first.answers == first.labels, second.answers == second.labels)]
    else:
        right = [(a.label, a.answered == a.positive, b.answered == b.positive) for a, b in pairs]
    independent = first.patients is None or len(np.unique(first.patients)) == len(first)
    return (
        *(_delong(a, b, first.patients) for a, b in pairs),
        *(_mcnemar(*answers, independent) for answers in right),
    )


def _delong(a: Column, b: Column, patients: np.ndarray | None) -> PairedTest:
    ids = None if patients is None else patients[a.known]
    values, covariance = areas(np.stack([a.probs, b.probs]), a.positive, ids)
    difference = float(values[0] - values[1])
    (x, y), (_, z) = covariance
    variance = float(x - 2 * y + z)
    if variance > 1e-15:
        p_value = 2 * float(norm.sf(abs(difference) / math.sqrt(variance)))
    else:
        p_value = 1.0 if difference == 0 and not math.isnan(variance) else math.nan
    return PairedTest("delong", a.label, difference, p_value)


def _mcnemar(label: str, first: np.ndarray, second: np.ndarray, independent: bool) -> PairedTest:
    if not len(first):
        return PairedTest("mcnemar", label, math.nan, math.nan)
    only = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = math.nan
    if independent:
        p_value = float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
    return PairedTest("mcnemar", label, (only[0] - only[1]) / len(first), p_value)
