"""Bootstrap draws as weights, and the intervals that replicates come to.

A draw is a row of counts, one an image, so that a score computed from weighted images gives all
replicates at once. Whole patients are drawn where ids are known.

Where all draws agree, as they do if every answer is right, their percentiles have no width. So
each draw is also mixed with one patient who was not seen and of whom the worst, or the best, is
assumed. If n of n are right, that is the interval of Clopper and Pearson (1934, Biometrika
26:404); otherwise it moves a bound by about 1 / n.

Source: Learned-Miller and Thomas 2019, arXiv:1905.06208, with multinomial weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medlego.support import ShortRepr

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 1 << 22
"""Weights that are worked on at a time, 32 MiB."""


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided bootstrap interval; NaN is undefined.

    `undefined` counts the replicates in which the score does not exist, for example the AUROC of a
    draw without positives; the interval is that of the others.
    """

    value: float
    low: float
    high: float
    undefined: int = 0

    def __str__(self) -> str:
        pattern = "{:.3f} [{:.3f}, {:.3f}]" if math.isfinite(self.low) else "{:.3f}"
        return self.format(pattern + f" ({self.undefined} draws undefined)" * (self.undefined > 0))

    def format(self, pattern: str) -> str:
        """Value, low and high in the pattern's places; an undefined value as that word."""
        if not math.isfinite(self.value):
            return "undefined"
        return pattern.format(self.value, self.low, self.high)

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN: an undefined number becomes null."""
        numbers = {k: v if math.isfinite(v) else None for k, v in vars(self).items()}
        if not self.undefined:
            del numbers["undefined"]
        return numbers


@dataclass(frozen=True, eq=False, repr=False)
class Replicates(ShortRepr):
    """A score on the sample itself, first, and on draws of it: (1 + resamples,) each.

    `low` and `high` are `values` mixed with the patient who was not seen. NaN is undefined.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, shares: np.ndarray, bounds: tuple[float, float]) -> Replicates:
        """Of a score within `bounds`, in which what was seen has these shares, (resamples,)."""
        drawn, (least, most) = np.append(1.0, shares), bounds
        return cls(values, *(drawn * values + (1 - drawn) * bound for bound in (least, most)))

    @classmethod
    def mean(cls, parts: Sequence[Replicates]) -> Replicates:
        """Draw by draw; undefined where one of them is."""
        return cls(*(np.mean([vars(p)[n] for p in parts], axis=0) for n in cls.__annotations__))

    def __sub__(self, other: Replicates) -> Replicates:
        """The change of a score on the same draws; from itself exactly none."""
        if other is self:
            nothing = self.values - self.values
            return Replicates(nothing, nothing, nothing)
        return Replicates(self.values - other.values, self.low - other.high, self.high - other.low)

    def __truediv__(self, other: Replicates) -> Replicates:
        """The ratio of scores from zero up on the same draws; undefined where `other` is zero."""
        if other is self:
            whole = _ratio(self.values, self.values)
            return Replicates(whole, whole, whole)
        pairs = ((self.values, other.values), (self.low, other.high), (self.high, other.low))
        return Replicates(*(_ratio(part, whole) for part, whole in pairs))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(part, whole, out=np.full_like(part, math.nan), where=whole > 0)
    return ratio


def interval(replicates: Replicates, level: float = LEVEL) -> Interval:
    """Summarise replicates: the value, and percentiles of the draws.

    An undefined value has no interval, whatever some draws may say.
    """
    value, defined = float(replicates.values[0]), ~np.isnan(replicates.values[1:])
    undefined = int((~defined).sum())
    if not defined.any() or math.isnan(value):
        return Interval(value, math.nan, math.nan, undefined)
    low = np.quantile(replicates.low[1:][defined], (1 - level) / 2)
    high = np.quantile(replicates.high[1:][defined], (1 + level) / 2)
    return Interval(value, float(low), float(high), undefined)


def seen_shares(counts: Sequence[Sequence[int]], resamples: int, seed: int) -> np.ndarray:
    """What share of each draw the patients have who were seen, (resamples,).

    Of n patients it is distributed as Beta(n, 1); the quantiles of the draws are exact.

    Args:
        counts: patients in each part of the sample on which a score rests: a score is a mean of
            terms, and a term a product of parts, as the AUROC is of positives and negatives.
        resamples: number of draws.
        seed: as in `draws`.
    """
    generator = np.random.default_rng(seed).spawn(1)[0]
    terms = [
        np.prod(
            [((generator.permutation(resamples) + 0.5) / resamples) ** (1 / n) for n in parts],
            axis=0,
        )
        for parts in counts
    ]
    return np.mean(terms, axis=0) if terms else np.ones(resamples)


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
