"""How far probabilities can be taken at their word.

The plain expected calibration error (ECE) is biased upwards: chance alone moves every bin off the
diagonal. Beside it stand `ece_floor`, what a perfectly calibrated model with the same
probabilities would show, and a root mean square error without that bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from medlego.metrics.bootstrap import LEVEL, nan_mean
from medlego.metrics.sample import Column, Sample
from medlego.support import ShortRepr

BINS = 15
IMAGES_PER_BIN = 20


@dataclass(frozen=True)
class Bin:
    """Images of like probability, `low` to `high`: mean probability, and how often it was true.

    The interval is Wilson's, of images taken for independent; NaN in an empty bin.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True, repr=False)
class Diagram(ShortRepr):
    """A reliability diagram of one label's probability, or of the likeliest label's."""

    label: str
    bins: tuple[Bin, ...]


def reliability(
    sample: Sample, *, bins: int = BINS, level: float = LEVEL, equal_mass: bool = False
) -> tuple[Diagram, ...]:
    """The numbers of a reliability diagram, one for each column of `Sample.beliefs`.

    Args:
        sample: a model's answers.
        bins: of equal width, or at most so many of equal numbers of images.
        level: of the intervals.
        equal_mass: choose edges at quantiles, `IMAGES_PER_BIN` images or more each.
    """
    found = []
    for belief in sample.beliefs:
        edges = _quantile_edges(belief.probs, bins) if equal_mass else np.linspace(0, 1, bins + 1)
        place = _places(belief.probs, edges)
        held = [
            _bin(belief, place == number, edges[number : number + 2], level)
            for number in range(len(edges) - 1)
        ]
        found.append(Diagram(belief.label, tuple(held)))
    return tuple(found)


def ece(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over `BINS` bins of equal width, mean over beliefs, (B,).

    Biased upwards, and more so in every replicate than in the value, which draws twice the chance:
    an interval may lie above its value.

    Source: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning.
    """
    edges = np.linspace(0, 1, BINS + 1)
    return nan_mean(np.stack([_ece(belief, weights, edges) for belief in sample.beliefs]))


def ece_floor(sample: Sample) -> float:
    """The ECE to expect of a perfectly calibrated model with these probabilities.

    Each bin's error is then normal with the variance Σ p (1 − p) / n², whose mean magnitude is
    √(2 / π) of its deviation; images count as independent.
    """
    edges, floors = np.linspace(0, 1, BINS + 1), []
    for belief in sample.beliefs:
        chance = np.bincount(
            _places(belief.probs, edges), belief.probs * (1 - belief.probs), minlength=BINS
        )
        size = len(belief.probs)
        floors.append(np.sqrt(2 / math.pi * chance).sum() / size if size else math.nan)
    return float(nan_mean(np.array(floors)))


def rms_calibration_error(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Root mean square calibration error in bins of equal mass, without bias, (B,).

    A bin's squared error is estimated from pairs of images of different patients, so that no
    image's own chance enters; draws of one image twice make no pair. A sum below zero is zero.
    With one image a patient the value is the debiased estimator of the source, bins weighted by
    size.

    Source: Kumar et al. 2019, arXiv:1909.10155, definition 4.1.
    """
    parts = [
        _squared(belief, weights, sample.patient_numbers[belief.known]) for belief in sample.beliefs
    ]
    mean = nan_mean(np.stack(parts))
    found: np.ndarray = np.sqrt(np.where(mean < 0, 0.0, mean))
    return found


def _ece(belief: Column, weights: np.ndarray, edges: np.ndarray) -> np.ndarray:
    drawn = weights[:, belief.known]
    member = np.eye(len(edges) - 1)[_places(belief.probs, edges)]
    gaps = drawn @ (member * (belief.positive - belief.probs)[:, None])
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.abs(gaps).sum(axis=1) / drawn.sum(axis=1)
    return found


def _squared(belief: Column, weights: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean over bins of (Σ_{p≠q} r_p r_q) / (Σ_{p≠q} n_p n_q), r and n a patient's sums."""
    drawn = weights[:, belief.known]
    if not len(belief.probs):
        return np.full(len(weights), np.nan)
    edges = _quantile_edges(belief.probs, BINS)
    member = np.eye(len(edges) - 1)[_places(belief.probs, edges)]
    _, first, of = np.unique(patients, return_index=True, return_inverse=True)
    gaps, sizes = np.zeros((2, len(first), member.shape[1]))
    np.add.at(gaps, of, member * (belief.positive - belief.probs)[:, None])
    np.add.at(sizes, of, member)
    times = drawn[:, first]
    squares = (times @ gaps) ** 2 - times**2 @ gaps**2
    pairs = (times @ sizes) ** 2 - times**2 @ sizes**2
    told = pairs > 0
    counts = np.where(told, times @ sizes, 0)
    with np.errstate(invalid="ignore"):
        errors = counts * squares / np.where(told, pairs, 1)
        found: np.ndarray = errors.sum(axis=1) / counts.sum(axis=1)
    return found


def _bin(belief: Column, inside: np.ndarray, edges: np.ndarray, level: float) -> Bin:
    count, hits = int(inside.sum()), int(belief.positive[inside].sum())
    low, high = float(edges[0]), float(edges[1])
    if not count:
        return Bin(low, high, 0, *[math.nan] * 4)
    sure = binomtest(hits, count).proportion_ci(level, method="wilson")
    confidence = float(belief.probs[inside].mean())
    return Bin(low, high, count, confidence, hits / count, float(sure.low), float(sure.high))


def _places(probs: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each probability; a bin holds its upper edge, the first also its lower one."""
    found: np.ndarray = np.searchsorted(edges[1:-1], probs, side="left")
    return found


def _quantile_edges(probs: np.ndarray, most: int) -> np.ndarray:
    bins = max(1, min(most, len(probs) // IMAGES_PER_BIN))
    inner = np.unique(np.quantile(probs, np.arange(1, bins) / bins)) if bins > 1 else np.zeros(0)
    return np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])
