"""How well probabilities are calibrated.

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
EDGES = np.linspace(0, 1, BINS + 1)
"""Of bins of equal width."""
IMAGES_PER_BIN = 20
"""Fewest in a bin of equal mass."""


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


def reliability(sample: Sample) -> tuple[Diagram, ...]:
    """The numbers of a reliability diagram, one for each column of `Sample.beliefs`."""
    return tuple(_diagram(belief) for belief in sample.beliefs)


def ece(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over `BINS` bins of equal width, mean over beliefs, (B,).

    Biased upwards, and more so in every replicate than in the value, which draws twice the chance:
    an interval may lie above its value.

    Source: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning.
    """
    return nan_mean(np.stack([_ece(belief, weights) for belief in sample.beliefs]))


def ece_floor(sample: Sample) -> float:
    """The ECE to expect of a perfectly calibrated model with these probabilities.

    Each bin's error is then normal with the variance Σ p (1 − p) / n², whose mean magnitude is
    √(2 / π) of its deviation; images count as independent.
    """
    floors = []
    for belief in sample.beliefs:
        probs, size = belief.probs, len(belief.probs)
        chance = np.bincount(_places(probs, EDGES), probs * (1 - probs), minlength=BINS)
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
    numbers = sample.patient_numbers
    parts = [_squared(belief, weights, numbers[belief.known]) for belief in sample.beliefs]
    mean = nan_mean(np.stack(parts))
    error: np.ndarray = np.sqrt(np.where(mean < 0, 0.0, mean))
    return error


def _ece(belief: Column, weights: np.ndarray) -> np.ndarray:
    drawn = weights[:, belief.known]
    member = np.eye(BINS)[_places(belief.probs, EDGES)]
    gaps = drawn @ (member * (belief.positive - belief.probs)[:, None])
    with np.errstate(invalid="ignore"):
        error: np.ndarray = np.abs(gaps).sum(axis=1) / drawn.sum(axis=1)
    return error


def _squared(belief: Column, weights: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean over bins of (Σ_{p≠q} r_p r_q) / (Σ_{p≠q} n_p n_q), r and n a patient's sums."""
    drawn = weights[:, belief.known]
    if not len(belief.probs):
        return np.full(len(weights), np.nan)
    edges = _quantile_edges(belief.probs)
    member = np.eye(len(edges) - 1)[_places(belief.probs, edges)]
    _, first, of = np.unique(patients, return_index=True, return_inverse=True)
    gaps, sizes = np.zeros((2, len(first), member.shape[1]))
    np.add.at(gaps, of, member * (belief.positive - belief.probs)[:, None])
    np.add.at(sizes, of, member)
    times = drawn[:, first]
    squares = (times @ gaps) ** 2 - times**2 @ gaps**2
    pairs = (times @ sizes) ** 2 - times**2 @ sizes**2
    paired = pairs > 0
    counts = np.where(paired, times @ sizes, 0)
    with np.errstate(invalid="ignore"):
        errors = counts * squares / np.where(paired, pairs, 1)
        mean: np.ndarray = errors.sum(axis=1) / counts.sum(axis=1)
    return mean


def _diagram(belief: Column) -> Diagram:
    places = _places(belief.probs, EDGES)
    edges = zip(EDGES.tolist(), EDGES[1:].tolist(), strict=False)
    bins = [_bin(belief, places == number, *pair) for number, pair in enumerate(edges)]
    return Diagram(belief.label, tuple(bins))


def _bin(belief: Column, inside: np.ndarray, low: float, high: float) -> Bin:
    count, hits = int(inside.sum()), int(belief.positive[inside].sum())
    if not count:
        return Bin(low, high, 0, *[math.nan] * 4)
    wilson = binomtest(hits, count).proportion_ci(LEVEL, method="wilson")
    confidence = float(belief.probs[inside].mean())
    return Bin(low, high, count, confidence, hits / count, float(wilson.low), float(wilson.high))


def _places(probs: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each probability; a bin holds its upper edge, the first also its lower one."""
    places: np.ndarray = np.searchsorted(edges[1:-1], probs, side="left")
    return places


def _quantile_edges(probs: np.ndarray) -> np.ndarray:
    bins = max(1, min(BINS, len(probs) // IMAGES_PER_BIN))
    inner = np.unique(np.quantile(probs, np.arange(1, bins) / bins))
    return np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])
