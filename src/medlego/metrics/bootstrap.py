"""Bootstrap draws as weights, and the intervals that replicates come to.

A replicate is a row of counts, one an image, so that a score computed from weighted images gives
all replicates at once. Whole patients are drawn where ids are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 1 << 22
"""Weights that are worked on at a time, 32 MiB."""


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided percentile bootstrap interval; NaN is undefined.

    `undefined` counts the replicates in which the score does not exist, for example the AUROC of a
    draw without positives; the interval is that of the others.
    """

    value: float
    low: float
    high: float
    undefined: int = 0

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "undefined"
        if not math.isfinite(self.low):
            return f"{self.value:.3f}"
        note = f" ({self.undefined} draws undefined)" if self.undefined else ""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]{note}"

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN: an undefined number becomes null."""
        numbers = {k: v if math.isfinite(v) else None for k, v in vars(self).items()}
        if not self.undefined:
            del numbers["undefined"]
        return numbers


def interval(replicates: np.ndarray, level: float = LEVEL) -> Interval:
    """Summarise `(1 + resamples,)` replicates, point value first.

    An undefined value has no interval, whatever some draws may say.
    """
    value, drawn = float(replicates[0]), replicates[1:]
    defined = drawn[~np.isnan(drawn)]
    undefined = drawn.size - defined.size
    if defined.size == 0 or math.isnan(value):
        return Interval(value, math.nan, math.nan, undefined)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), undefined)


def draws(patients: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights (1 + resamples, N): the sample itself, then draws of whole patients.

    They come in parts of some rows that are small enough to work on.

    Args:
        patients: (N,), see `patient_numbers`.
        resamples: number of draws.
        seed: equal seeds draw equal images, so that models can be paired.
    """
    yield np.ones((1, len(patients)))
    if not len(patients):
        yield np.zeros((resamples, 0))
        return
    count = int(patients.max()) + 1
    generator = np.random.default_rng(seed)
    shares, rows = np.full(count, 1 / count), max(1, BLOCK // len(patients))
    for start in range(0, resamples, rows):
        drawn = generator.multinomial(count, shares, size=min(rows, resamples - start))
        yield drawn[:, patients].astype(np.float64)


def patient_numbers(count: int, patients: np.ndarray | None) -> np.ndarray:
    """A number per image, the same for all of a patient's; each image its own without ids."""
    if patients is None:
        return np.arange(count)
    numbers: np.ndarray = np.unique(patients, return_inverse=True)[1]
    return numbers


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.nansum(values, axis=0) / count
    return mean
