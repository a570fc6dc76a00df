"""Calibration errors against loops over bins and over pairs of images."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from medlego.data import Task
from medlego.metrics import Sample, ece_floor, point_scores, score_replicates
from medlego.metrics.bootstrap import draws

TASK = Task(name="oracle", kind="binary", labels=("no", "yes"))
THREE = Task(name="oracle", kind="multiclass", labels=("a", "b", "c"))
NAMES = ("ece", "rms_calibration_error")
RTOL = 1e-12
COUNT = 90


def binary(seed: int = 0, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    second = np.round(generator.random(count), 3)
    labels = (generator.random(count) < second**2).astype(np.int64)
    return np.stack([1 - second, second], axis=1), labels


def loop_ece(belief: np.ndarray, true: np.ndarray, rows: np.ndarray) -> float:
    total = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = [i for i in rows if (low < belief[i] <= high) or (number == 0 and belief[i] == 0)]
        if inside:
            total += abs(sum(true[i] - belief[i] for i in inside))
    return total / len(rows)


def loop_rms(belief: np.ndarray, true: np.ndarray, counts: np.ndarray, ids: np.ndarray) -> float:
    """Pairs of images of different patients, each as often as both were drawn."""
    bins = min(15, len(belief) // 20)
    edges = [np.quantile(belief, k / bins) for k in range(1, bins)]
    place = np.array([sum(value > edge for edge in edges) for value in belief])
    total = weight = 0.0
    for number in range(bins):
        squares = pairs = 0.0
        for i, j in permutations(np.flatnonzero(place == number), 2):
            if ids[i] != ids[j]:
                times = counts[i] * counts[j]
                squares += times * (true[i] - belief[i]) * (true[j] - belief[j])
                pairs += times
        size = counts[place == number].sum()
        if pairs:
            total += size * squares / pairs
            weight += size
    return math.sqrt(max(0.0, total / weight))


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "patients"])
def test_replicates_are_the_loops_over_bins_and_pairs(grouped: bool) -> None:
    probs, labels = binary()
    ids = np.arange(COUNT) // 2 if grouped else np.arange(COUNT)
    sample = Sample(TASK, probs, labels, ids if grouped else None)
    replicates = score_replicates(sample, NAMES, resamples=4)
    for number, row in enumerate(np.concatenate(list(draws(ids, 4, 0)))):
        rows = np.repeat(np.arange(COUNT), row.astype(int))
        expected = loop_ece(probs[:, 1], labels, rows), loop_rms(probs[:, 1], labels, row, ids)
        actual = tuple(float(replicates[name].values[number]) for name in NAMES)
        assert actual == pytest.approx(expected, rel=RTOL, abs=1e-9)


def test_of_three_labels_it_is_the_likeliest_ones() -> None:
    generator = np.random.default_rng(1)
    probs, labels = generator.dirichlet(np.ones(3), COUNT), generator.integers(0, 3, COUNT)
    right = (probs.argmax(axis=1) == labels).astype(float)
    expected = loop_ece(probs.max(axis=1), right, np.arange(COUNT))
    error = point_scores(THREE, probs, labels, NAMES)["ece"]
    assert error == pytest.approx(expected, rel=RTOL)


def test_with_one_image_a_patient_it_is_the_debiased_estimator() -> None:
    probs, labels = binary(seed=3, count=200)
    edges = np.quantile(probs[:, 1], np.arange(1, 10) / 10)
    place = np.searchsorted(edges, probs[:, 1])
    gap = labels - probs[:, 1]
    parts = [gap[place == number] for number in range(10)]
    squared = sum(len(p) * (p.mean() ** 2 - p.var(ddof=1) / len(p)) for p in parts) / 200
    scores = point_scores(TASK, probs, labels, NAMES)
    assert scores["rms_calibration_error"] == pytest.approx(math.sqrt(squared), rel=RTOL)


def calibrated(seed: int, count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    second = generator.random(count)
    return np.stack([1 - second, second], axis=1), (generator.random(count) < second).astype(int)


def test_the_floor_is_what_perfect_calibration_shows_on_average() -> None:
    errors = [point_scores(TASK, *calibrated(seed), NAMES)["ece"] for seed in range(300)]
    floors = [ece_floor(Sample(TASK, *calibrated(seed))) for seed in range(300)]
    assert np.mean(errors) == pytest.approx(np.mean(floors), rel=0.04)
    assert np.mean(errors) > 0.05


def test_the_square_without_bias_is_zero_on_average_where_calibration_is_perfect() -> None:
    from medlego.metrics.reliability import _squared

    parts = []
    for seed in range(300):
        sample = Sample(TASK, *calibrated(seed))
        parts.append(_squared(sample.beliefs[0], np.ones((1, 150)), np.arange(150))[0])
    error = np.std(parts) / math.sqrt(300)
    assert abs(np.mean(parts)) < 3 * error
    assert error < 0.001
