"""DeLong's variance against the double sum over pairs, written from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medlego.data import Task
from medlego.metrics import Sample, delong_interval, paired_tests
from medlego.metrics.delong import areas

RTOL, ATOL = 1e-12, 1e-15
TASK = Task(name="oracle", kind="binary", labels=("no", "yes"))


def two_models(seed: int, *, ties: bool, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(count) < 0.4
    shared = generator.random(count) + 0.4 * positive
    scores = np.stack([shared + 0.5 * generator.random(count) for _ in range(2)])
    return (np.round(scores * 5) / 5 if ties else scores), positive


def kernel(up: float, down: float) -> float:
    return 1.0 if up > down else 0.5 if up == down else 0.0


def dense(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """θ, V10 and V01 by double sums; S = S10 / m + S01 / n (DeLong et al. 1988, eq. 4 to 6)."""
    above = [[s for s, p in zip(row, positive, strict=True) if p] for row in scores]
    below = [[s for s, p in zip(row, positive, strict=True) if not p] for row in scores]
    m, n = len(above[0]), len(below[0])
    theta, v10, v01 = [], [], []
    for x, y in zip(above, below, strict=True):
        theta.append(sum(kernel(a, b) for a in x for b in y) / (m * n))
        v10.append([sum(kernel(a, b) for b in y) / n for a in x])
        v01.append([sum(kernel(a, b) for a in x) / m for b in y])
    covariance = np.zeros((2, 2))
    for r in range(2):
        for s in range(2):
            pairs = zip(v10[r], v10[s], strict=True)
            s10 = sum((a - theta[r]) * (b - theta[s]) for a, b in pairs) / (m - 1)
            pairs = zip(v01[r], v01[s], strict=True)
            s01 = sum((a - theta[r]) * (b - theta[s]) for a, b in pairs) / (n - 1)
            covariance[r, s] = s10 / m + s01 / n
    return np.array(theta), covariance


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_areas_and_covariance_are_the_double_sums(seed: int, ties: bool) -> None:
    scores, positive = two_models(seed, ties=ties)
    theta, covariance = dense(scores, positive)
    values, estimated = areas(scores, positive)
    np.testing.assert_allclose(values, theta, rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(estimated, covariance, rtol=1e-10, atol=ATOL)
    np.testing.assert_allclose(
        values, [roc_auc_score(positive, row) for row in scores], rtol=RTOL, atol=ATOL
    )


def clustered(scores: np.ndarray, positive: np.ndarray, ids: np.ndarray) -> float:
    """Obuchowski 1997, the variance of one AUROC, patient by patient."""
    (theta, _), _ = dense(np.stack([scores, scores]), positive)
    x, y = scores[positive], scores[~positive]
    tops, bottoms = [], []
    for patient in np.unique(ids):
        mine = scores[(ids == patient) & positive], scores[(ids == patient) & ~positive]
        tops.append(sum(np.mean([kernel(a, b) for b in y]) - theta for a in mine[0]))
        bottoms.append(sum(np.mean([kernel(a, b) for a in x]) - theta for b in mine[1]))
    up = len(np.unique(ids[positive]))
    down = len(np.unique(ids[~positive]))
    all_of_them = len(np.unique(ids))
    s10 = up / ((up - 1) * len(x)) * sum(t * t for t in tops)
    s01 = down / ((down - 1) * len(y)) * sum(b * b for b in bottoms)
    s11 = all_of_them / (all_of_them - 1) * sum(t * b for t, b in zip(tops, bottoms, strict=True))
    return float(s10 / len(x) + s01 / len(y) + 2 * s11 / (len(x) * len(y)))


@pytest.mark.parametrize("seed", range(3))
def test_images_of_a_patient_count_as_dependent(seed: int) -> None:
    scores, positive = two_models(seed, ties=True)
    ids = np.arange(len(positive)) // 3
    _, covariance = areas(scores, positive, ids)
    assert covariance[0, 0] == pytest.approx(clustered(scores[0], positive, ids), rel=1e-10)


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator, inside = np.random.default_rng(0), 0
    truth = norm.cdf(1 / math.sqrt(2))
    for _ in range(600):
        positive = np.arange(60) < 25
        interval = delong_interval(generator.normal(size=60) + positive, positive)
        inside += interval.low <= truth <= interval.high
    assert 0.93 <= inside / 600 <= 0.97


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_test_is_the_difference_over_its_deviation(seed: int) -> None:
    scores, positive = two_models(seed, ties=False)
    theta, s = dense(scores, positive)
    z = (theta[0] - theta[1]) / math.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    first, second = (
        Sample(TASK, np.stack([1 - row, row], axis=1), positive.astype(int)) for row in scores
    )
    test = paired_tests(first, second)[0]
    assert test.name == "delong"
    assert test.p_value == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)


@pytest.mark.parametrize("positives", [0, 1, 20], ids=["none", "one", "all"])
def test_without_two_patients_a_side_there_is_no_interval(positives: int) -> None:
    interval = delong_interval(np.linspace(0, 1, 20), np.arange(20) < positives)
    assert math.isnan(interval.low)
    assert math.isnan(interval.value) == (positives != 1)


def test_perfect_separation_has_no_interval() -> None:
    interval = delong_interval(np.arange(20.0), np.arange(20) > 9)
    assert interval.value == 1.0
    assert math.isnan(interval.low)
