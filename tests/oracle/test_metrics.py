"""Scores and their bootstrap replicates against scikit-learn on the sample written out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from medlego.metrics import SCORES, _draws, point_scores, score_replicates
from medlego.task import Kind, Task

RTOL = 1e-12
COUNT = 60
RESAMPLES = 25
SIZES = {Kind.BINARY: 2, Kind.MULTICLASS: 4, Kind.ORDINAL: 3, Kind.MULTILABEL: 3}


def make_task(kind: Kind) -> Task:
    return Task(name="oracle", kind=kind, labels=tuple("abcd"[: SIZES[kind]]))


def sample(kind: Kind, seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels; multilabel ones have unknown cells, small classes are rare."""
    generator = np.random.default_rng(seed)
    size = SIZES[kind]
    if kind is Kind.MULTILABEL:
        probs = generator.random((COUNT, size))
        labels = (generator.random((COUNT, size)) < [0.5, 0.2, 0.05]).astype(float)
        labels[0] = 1.0
        labels[generator.random((COUNT, size)) < 0.2] = np.nan
        labels[1] = 1.0
    else:
        probs = generator.dirichlet(np.ones(size), COUNT)
        odds = np.array([0.6, 0.3, 0.08, 0.02][:size])
        labels = generator.choice(size, COUNT, p=odds / odds.sum())
        labels[:size] = np.arange(size)
    if ties:
        probs = np.round(probs * 4) / 4
    return probs, labels


def sklearn_scores(kind: Kind, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The three scores, label by label where scikit-learn would refuse a missing class."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        if kind is Kind.MULTILABEL:
            return _sklearn_multilabel(probs, labels)
        predicted = probs.argmax(axis=1)
        columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
        areas = [_area(labels == j, probs[:, j]) for j in columns]
        return {
            "accuracy": accuracy_score(labels, predicted),
            "balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "auroc": _mean(areas),
        }


def _sklearn_multilabel(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    known = ~np.isnan(labels)
    truth, predicted = labels > 0.5, probs > 0.5
    balanced, areas = [], []
    for j in range(labels.shape[1]):
        rows = known[:, j]
        areas.append(_area(truth[rows, j], probs[rows, j]))
        both = len(np.unique(truth[rows, j])) == 2
        score = balanced_accuracy_score(truth[rows, j], predicted[rows, j]) if both else np.nan
        balanced.append(score)
    return {
        "accuracy": accuracy_score(truth[known], predicted[known]),
        "balanced_accuracy": _mean(balanced),
        "auroc": _mean(areas),
    }


def _area(positive: np.ndarray, score: np.ndarray) -> float:
    return roc_auc_score(positive, score) if len(np.unique(positive)) == 2 else np.nan


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else np.nan


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", SIZES)
def test_point_scores_are_sklearns(kind: Kind, seed: int, ties: bool) -> None:
    probs, labels = sample(kind, seed, ties=ties)
    expected = sklearn_scores(kind, probs, labels)
    assert point_scores(make_task(kind), probs, labels) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("seed", range(3))
def test_macro_auroc_is_sklearns_one_vs_rest(seed: int) -> None:
    probs, labels = sample(Kind.MULTICLASS, seed)
    expected = roc_auc_score(labels, probs, multi_class="ovr", average="macro")
    actual = point_scores(make_task(Kind.MULTICLASS), probs, labels)["auroc"]
    assert actual == pytest.approx(expected, rel=RTOL)


def test_auroc_of_constant_scores_is_a_half() -> None:
    probs, labels = np.full((10, 2), 0.5), np.arange(10) % 2
    assert point_scores(make_task(Kind.BINARY), probs, labels)["auroc"] == 0.5


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "patients"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("kind", SIZES)
def test_replicate_is_sklearn_on_the_repeated_sample(kind: Kind, ties: bool, grouped: bool) -> None:
    probs, labels = sample(kind, seed=7, ties=ties)
    patients = np.array([f"p{i % 17}" for i in range(COUNT)]) if grouped else None
    actual = score_replicates(
        make_task(kind), probs, labels, patients=patients, resamples=RESAMPLES, seed=3
    )
    counts = _draws(COUNT, patients, RESAMPLES, 3).astype(int)
    repeated = [np.repeat(np.arange(COUNT), row) for row in counts]
    expected = [sklearn_scores(kind, probs[rows], labels[rows]) for rows in repeated]
    for name in SCORES:
        wanted = [row[name] for row in expected]
        np.testing.assert_allclose(actual[name], wanted, rtol=RTOL, atol=0, err_msg=name)
