"""Scores of classifiers with bootstrap intervals.

Every score is computed from per-image weights, so that a bootstrap replicate is a row of
counts and all replicates are one matrix product. Point values agree with scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from medlego.task import Kind, Task

SCORES = ("accuracy", "balanced_accuracy", "auroc")
RESAMPLES = 2000
LEVEL = 0.95
TRIFLE = 1e-6


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN: an undefined number becomes null."""
        return {k: v if math.isfinite(v) else None for k, v in vars(self).items()}


def score_replicates(
    task: Task,
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Each score on the sample itself and on bootstrap replicates of it.

    Args:
        task: says how probabilities and labels are read.
        probs: (N, labels).
        labels: (N,) int64, or (N, labels) with NaN for unknown.
        patients: (N,) ids; whole patients are drawn where given.
        resamples: number of replicates.
        seed: of the draws; equal seeds draw equal images, so that models can be paired.

    Returns:
        Per score (1 + resamples,): the point value first. NaN where a score is undefined.
    """
    weights = _draws(len(probs), patients, resamples, seed)
    if task.kind is Kind.MULTILABEL:
        correct, balanced = _multilabel_accuracies(probs, labels, weights)
        known = ~np.isnan(labels)
        columns = [
            (probs[known[:, j], j], labels[known[:, j], j] > 0, weights[:, known[:, j]])
            for j in range(labels.shape[1])
        ]
    else:
        correct, balanced = _single_accuracies(probs, labels, weights)
        indices = [1] if len(task.labels) == 2 else range(len(task.labels))
        columns = [(probs[:, j], labels == j, weights) for j in indices]
    with np.errstate(invalid="ignore"):
        auroc = _nan_mean(np.stack([_auroc(*column) for column in columns]))
    return {"accuracy": correct, "balanced_accuracy": balanced, "auroc": auroc}


def interval(replicates: np.ndarray, level: float = LEVEL) -> Interval:
    """Summarise `(1 + resamples,)` replicates, point value first."""
    drawn = replicates[1:][~np.isnan(replicates[1:])]
    if drawn.size == 0:
        return Interval(float(replicates[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(replicates[0]), float(low), float(high))


def scores(
    task: Task,
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every score of `SCORES` with its 95 % interval; arguments as in `score_replicates`."""
    replicates = score_replicates(
        task, probs, labels, patients=patients, resamples=resamples, seed=seed
    )
    return {name: interval(values) for name, values in replicates.items()}


def point_scores(task: Task, probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Every score of `SCORES` without interval."""
    replicates = score_replicates(task, probs, labels, resamples=0)
    return {name: float(values[0]) for name, values in replicates.items()}


def wrong_answers(task: Task, labels: np.ndarray) -> np.ndarray:
    """Probabilities that know nothing and are just wrong, (N, labels): no answer, for a score.

    All labels are alike but for the true one, which is a trifle less likely.
    """
    count = len(task.labels)
    if task.kind is Kind.MULTILABEL:
        known: np.ndarray = np.where(labels > 0, 0.5 - TRIFLE, 0.5 + TRIFLE)
        return known
    probs = np.full((len(labels), count), 1 / count)
    probs[np.arange(len(labels)), labels] -= TRIFLE
    return probs


def mean_over_tasks(
    replicates: Mapping[str, np.ndarray],
    combine: Callable[[np.ndarray], np.ndarray] = lambda values: values.mean(axis=0),
) -> np.ndarray:
    """Combine tasks replicate by replicate; tasks are drawn independently of each other."""
    return combine(np.stack(list(replicates.values())))


def _draws(count: int, patients: np.ndarray | None, resamples: int, seed: int) -> np.ndarray:
    ids = np.arange(count) if patients is None else np.unique(patients, return_inverse=True)[1]
    groups = int(ids.max()) + 1 if count else 0
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    whole = np.ones((1, groups), dtype=drawn.dtype)
    return np.concatenate([whole, drawn])[:, ids].astype(np.float64)


def _single_accuracies(
    probs: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    right = (probs.argmax(axis=1) == labels).astype(np.float64)
    accuracy = weights @ right / weights.sum(axis=1)
    member = np.eye(probs.shape[1])[labels]
    present = weights @ member
    with np.errstate(invalid="ignore"):
        recall = (weights @ (member * right[:, None])) / present
    return accuracy, _nan_mean(recall.T)


def _multilabel_accuracies(
    probs: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy over known cells, and the mean over labels of (sensitivity + specificity) / 2."""
    known = ~np.isnan(labels)
    truth = np.nan_to_num(labels) > 0
    right = ((probs > 0.5) == truth) & known
    with np.errstate(invalid="ignore"):
        accuracy = (weights @ right).sum(axis=1) / (weights @ known).sum(axis=1)
        sides = [
            (weights @ (right & side)) / (weights @ (known & side)) for side in (truth, ~truth)
        ]
    return accuracy, _nan_mean(((sides[0] + sides[1]) / 2).T)


def _auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted area under the ROC curve, ties counted half: (N,), (N,), (B, N) → (B,)."""
    values, position = np.unique(scores, return_inverse=True)
    if positive.all() or not positive.any():
        return np.full(len(weights), np.nan)
    one_hot_bins = (len(weights), len(values))
    ups, downs = np.zeros(one_hot_bins), np.zeros(one_hot_bins)
    np.add.at(ups.T, position[positive], weights[:, positive].T)
    np.add.at(downs.T, position[~positive], weights[:, ~positive].T)
    below = np.cumsum(downs, axis=1) - downs / 2
    area: np.ndarray = (ups * below).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1))
    return area


def _nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.nansum(values, axis=0) / count
    return mean
