"""AUROC's interval and paired test without resampling, by DeLong's variance."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, rankdata

from medlego.metrics.bootstrap import LEVEL, Interval, patient_numbers


def areas(
    scores: np.ndarray, positive: np.ndarray, patients: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs of several models on the same images, (M,), and their covariance (M, M).

    NaN where one side is missing; the covariance is also NaN with fewer than two patients on a
    side.

    Args:
        scores: (M, N), one row a model.
        positive: (N,) bool.
        patients: (N,) ids, where a patient may have several images; their images then count as
            dependent.

    Source: DeLong et al. 1988, Biometrics 44:837; placements by ranks as in Sun and Xu 2014, IEEE
    Signal Processing Letters 21:1389; several images a patient as in Obuchowski 1997, Biometrics
    53:567, which is DeLong's where each has one.
    """
    models, up, down = len(scores), int(positive.sum()), int((~positive).sum())
    undefined = np.full((models, models), np.nan)
    if not (up and down):
        return undefined[0], undefined
    over, under = zip(*(_placements(row, positive) for row in scores), strict=True)
    values = np.stack(over).mean(axis=1)
    of = patient_numbers(positive.size, patients)
    count = int(of.max()) + 1
    tops, bottoms = np.zeros((2, models, count))
    for model in range(models):
        tops[model] = np.bincount(of[positive], over[model] - values[model], count)
        bottoms[model] = np.bincount(of[~positive], under[model] - values[model], count)
    with_up, with_down = len(np.unique(of[positive])), len(np.unique(of[~positive]))
    if min(with_up, with_down) < 2:
        return values, undefined
    cross = tops @ bottoms.T
    covariance = (
        tops @ tops.T * with_up / (with_up - 1) / up**2
        + bottoms @ bottoms.T * with_down / (with_down - 1) / down**2
        + (cross + cross.T) * count / (count - 1) / (up * down)
    )
    return values, covariance


def delong_interval(
    scores: np.ndarray,
    positive: np.ndarray,
    patients: np.ndarray | None = None,
    level: float = LEVEL,
) -> Interval:
    """One model's AUROC with its interval, symmetric in log odds.

    Undefined bounds where every positive lies above every negative, or below: the variance is
    zero then, which says nothing of other images.
    """
    values, covariance = areas(scores[None], positive, patients)
    value, variance = float(values[0]), float(covariance[0, 0])
    if not (0 < value < 1 and variance > 0):
        return Interval(value, math.nan, math.nan)
    middle = math.log(value / (1 - value))
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-(middle + side))) for side in (-half, half))
    return Interval(value, low, high)


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per positive the share of negatives below it, per negative that of positives above it."""
    ups, downs = scores[positive], scores[~positive]
    ranks = rankdata(scores)
    over = (ranks[positive] - rankdata(ups)) / len(downs)
    under = 1 - (ranks[~positive] - rankdata(downs)) / len(ups)
    return over, under
