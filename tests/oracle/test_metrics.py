"""Scores and their bootstrap replicates against scikit-learn on the sample written out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from medlego.data import Task
from medlego.metrics import (
    LABEL_SCORES,
    Sample,
    label_replicates,
    point_scores,
    score_names,
    score_replicates,
)
from medlego.metrics.bootstrap import draws

RTOL = ATOL = 1e-12
COUNT = 60
RESAMPLES = 12
SIZES = {"binary": 2, "multiclass": 4, "ordinal": 3, "multilabel": 3}
PLAIN = ("ece", "rms_calibration_error")
"""Scores that scikit-learn lacks; see test_calibration_errors.py."""
NAN = float("nan")


def make_task(kind: str) -> Task:
    return Task(name="oracle", kind=kind, labels=tuple("abcd"[: SIZES[kind]]))


def sample(kind: str, seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels; multilabel ones have unknown cells, small classes are rare."""
    generator = np.random.default_rng(seed)
    size = SIZES[kind]
    if kind == "multilabel":
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


def one_label(positive: np.ndarray, score: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Every score of one label against the rest; NaN where scikit-learn warns or refuses."""
    both = len(np.unique(positive)) == 2
    scores = dict.fromkeys(LABEL_SCORES, NAN)
    if not len(positive):
        return scores
    scores["f1"] = f1_score(positive, predicted, zero_division=np.nan)
    scores["sensitivity"] = recall_score(positive, predicted, zero_division=np.nan)
    scores["specificity"] = recall_score(~positive, ~predicted, zero_division=np.nan)
    scores["brier"] = float(np.mean((score - positive) ** 2))
    if both:
        scores["auroc"] = roc_auc_score(positive, score)
        scores["average_precision"] = average_precision_score(positive, score)
        alarms, hits, _ = roc_curve(positive, score, drop_intermediate=False)
        scores["sensitivity_at_90_specificity"] = hits[1 - alarms >= 0.9 - 1e-12].max()
        scores["specificity_at_90_sensitivity"] = (1 - alarms[hits >= 0.9 - 1e-12]).max()
        scores["brier"] = brier_score_loss(positive, score)
    return scores


def by_label(kind: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    scores = {}
    for j, name in enumerate("abcd"[: SIZES[kind]]):
        if kind == "multilabel":
            rows = ~np.isnan(labels[:, j])
            parts = labels[rows, j] > 0.5, probs[rows, j], probs[rows, j] > 0.5
        else:
            parts = labels == j, probs[:, j], probs.argmax(axis=1) == j
        if kind != "binary" or j == 1:
            scores[name] = one_label(*parts)
    return scores


def sklearn_scores(kind: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Every score, label by label where scikit-learn would refuse a missing class."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="The y_prob values do not sum to one")
        singles = by_label(kind, probs, labels)
        scores = {name: _mean([one[name] for one in singles.values()]) for name in LABEL_SCORES}
        whole = _multilabel if kind == "multilabel" else _one_of_several
        scores |= whole(kind, probs, labels)
    return {name: scores[name] for name in score_names(make_task(kind)) if name not in PLAIN}


def _one_of_several(kind: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predicted, size = probs.argmax(axis=1), probs.shape[1]
    scores = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "log_loss": log_loss(labels, np.clip(probs, 0, 1), labels=range(size)),
    }
    truth = np.eye(size)[labels]
    if size > 2:
        scores["brier"] = float(np.mean(((probs - truth) ** 2).sum(axis=1)))
        if np.allclose(probs.sum(axis=1), 1, rtol=0, atol=1e-9):
            expected = brier_score_loss(labels, probs, labels=range(size))
            assert scores["brier"] == pytest.approx(expected, rel=RTOL)
    if kind == "ordinal":
        alike = len(np.unique(np.concatenate([labels, predicted]))) < 2
        args = {"labels": range(size), "weights": "quadratic"}
        scores["quadratic_kappa"] = NAN if alike else cohen_kappa_score(labels, predicted, **args)
    return scores


def _multilabel(_kind: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    known = ~np.isnan(labels)
    truth, predicted = labels > 0.5, probs > 0.5
    balanced, losses = [], []
    for j in range(labels.shape[1]):
        rows = known[:, j]
        both = len(np.unique(truth[rows, j])) == 2
        score = balanced_accuracy_score(truth[rows, j], predicted[rows, j]) if both else NAN
        balanced.append(score)
        some = rows.any()
        two = np.stack([1 - probs[rows, j], probs[rows, j]], axis=1)
        losses.append(log_loss(truth[rows, j], two, labels=[False, True]) if some else NAN)
    return {
        "accuracy": accuracy_score(truth[known], predicted[known]) if known.any() else NAN,
        "balanced_accuracy": _mean(balanced),
        "log_loss": _mean(losses),
    }


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else np.nan


def scored(kind: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    names = [name for name in score_names(make_task(kind)) if name not in PLAIN]
    return point_scores(make_task(kind), probs, labels, names)


def rows_sum_to_one(kind: str, ties: bool) -> bool:
    """scikit-learn rescales rows for the log loss; rounded ones do not sum to one."""
    return kind == "multilabel" or not ties


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", SIZES)
def test_point_scores_are_sklearns(kind: str, seed: int, ties: bool) -> None:
    probs, labels = sample(kind, seed, ties=ties)
    expected, actual = sklearn_scores(kind, probs, labels), scored(kind, probs, labels)
    if not rows_sum_to_one(kind, ties):
        del expected["log_loss"], actual["log_loss"]
    assert actual == pytest.approx(expected, rel=RTOL, abs=ATOL, nan_ok=True)


@pytest.mark.parametrize("kind", SIZES)
def test_scores_of_each_label_are_sklearns(kind: str) -> None:
    probs, labels = sample(kind, seed=2, ties=True)
    actual = label_replicates(Sample(make_task(kind), probs, labels), resamples=0)
    expected = by_label(kind, probs, labels)
    assert actual.keys() == expected.keys()
    for label, replicates in actual.items():
        points = {name: float(own.values[0]) for name, own in replicates.items()}
        assert points == pytest.approx(expected[label], rel=RTOL, abs=ATOL, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_macro_auroc_is_sklearns_one_vs_rest(seed: int) -> None:
    probs, labels = sample("multiclass", seed)
    expected = roc_auc_score(labels, probs, multi_class="ovr", average="macro")
    actual = point_scores(make_task("multiclass"), probs, labels)["auroc"]
    assert actual == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("seed", range(3))
def test_macro_f1_is_sklearns(seed: int) -> None:
    probs, labels = sample("multiclass", seed)
    expected = f1_score(labels, probs.argmax(axis=1), average="macro")
    actual = point_scores(make_task("multiclass"), probs, labels, ["f1"])["f1"]
    assert actual == pytest.approx(expected, rel=RTOL)


def test_auroc_of_constant_scores_is_a_half() -> None:
    probs, labels = np.full((10, 2), 0.5), np.arange(10) % 2
    assert point_scores(make_task("binary"), probs, labels)["auroc"] == 0.5


def one_sided(kind: str) -> np.ndarray:
    if kind == "multilabel":
        return np.ones((COUNT, SIZES[kind]))
    return np.zeros(COUNT, dtype=np.int64)


@pytest.mark.parametrize("kind", SIZES)
def test_one_class_alone_leaves_what_needs_two_undefined(kind: str) -> None:
    scores = scored(kind, sample(kind, 0)[0], one_sided(kind))
    needs_both = ("auroc", "average_precision", "sensitivity_at_90_specificity")
    assert [name for name in needs_both if not math.isnan(scores[name])] == []
    assert math.isfinite(scores["brier"])


def test_unknown_columns_leave_everything_undefined() -> None:
    task = make_task("multilabel")
    probs, names = sample("multilabel", 0)[0], score_names(task)
    unknown = Sample(task, probs, np.full(probs.shape, NAN))
    replicates = score_replicates(unknown, names, resamples=5)
    assert all(np.isnan(own.values).all() for own in replicates.values())


def test_one_unknown_column_leaves_the_others_as_they_are() -> None:
    probs, labels = sample("multilabel", 3)
    labels[:, 2] = NAN
    expected = sklearn_scores("multilabel", probs, labels)
    scores = scored("multilabel", probs, labels)
    assert scores == pytest.approx(expected, rel=RTOL, abs=ATOL, nan_ok=True)


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "patients"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("kind", SIZES)
def test_replicate_is_sklearn_on_the_repeated_sample(kind: str, ties: bool, grouped: bool) -> None:
    probs, labels = sample(kind, seed=7, ties=ties)
    patients = np.array([f"p{i % 17}" for i in range(COUNT)]) if grouped else None
    names = [name for name in score_names(make_task(kind)) if name not in PLAIN]
    if not rows_sum_to_one(kind, ties):
        names.remove("log_loss")
    whole = Sample(make_task(kind), probs, labels, patients)
    actual = score_replicates(whole, names, resamples=RESAMPLES, seed=3)
    counts = np.concatenate(list(draws(whole.patient_numbers, RESAMPLES, 3)))
    repeated = [np.repeat(np.arange(COUNT), row.astype(int)) for row in counts]
    expected = [sklearn_scores(kind, probs[rows], labels[rows]) for rows in repeated]
    for name in names:
        wanted = [row[name] for row in expected]
        np.testing.assert_allclose(actual[name].values, wanted, rtol=RTOL, atol=ATOL, err_msg=name)


cells = st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 1.0, NAN]))


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=12))
def test_any_column_is_sklearns_or_undefined(column: list[tuple[float, float]]) -> None:
    probs, labels = (np.array(part, dtype=float)[:, None] for part in zip(*column, strict=True))
    task = Task(name="oracle", kind="multilabel", labels=("a",))
    known = ~np.isnan(labels[:, 0])
    expected = one_label(labels[known, 0] > 0, probs[known, 0], probs[known, 0] > 0.5)
    scores = label_replicates(Sample(task, probs, labels), resamples=0)["a"]
    points = {name: own.values[0] for name, own in scores.items()}
    assert points == pytest.approx(expected, rel=RTOL, abs=ATOL, nan_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda p, y: (1 - p, y),
        lambda p, y: (p, np.roll(y, 1)),
    ],
    ids=["turned", "shifted"],
)
def test_the_oracle_tells_another_model_apart(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    probs, labels = sample("binary", 0)
    expected = sklearn_scores("binary", *change(probs, labels))
    scores = scored("binary", probs, labels)
    assert all(scores[name] != pytest.approx(expected[name], rel=1e-6) for name in scores)
