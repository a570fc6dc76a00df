"""Scores of classifiers, each as a point value and on bootstrap replicates.

Every score is computed from per-image weights, so that all replicates are one matrix product.
Point values agree with scikit-learn's; what does not exist is NaN, never a half or zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medlego.data import Kind, Task
from medlego.metrics.bootstrap import RESAMPLES, Interval, draw_blocks, interval, nan_mean
from medlego.metrics.ranking import Ranking
from medlego.metrics.reliability import ece, rms_calibration_error
from medlego.metrics.sample import HALF, Column, Sample

SCORES = ("accuracy", "balanced_accuracy", "auroc")
"""What choices are made by; every kind of task has them."""
STATED = 0.9
"""The specificity at which sensitivity is told, and the reverse."""
TRIFLE = 1e-6
SMALLEST = float(np.finfo(np.float64).eps)

PROBABILISTIC = ("brier", "log_loss", "ece", "rms_calibration_error")
"""Scores of probabilities taken at their word."""


def score_names(task: Task) -> tuple[str, ...]:
    """Every score that a task of this kind has, those of `SCORES` first."""
    names = [*SCORES, "average_precision", "f1"]
    if task.kind in (Kind.BINARY, Kind.MULTILABEL):
        names += ["sensitivity", "specificity"]
    names += ["sensitivity_at_90_specificity", "specificity_at_90_sensitivity"]
    if task.kind is Kind.ORDINAL:
        names.append("quadratic_kappa")
    return (*names, *PROBABILISTIC)


LABEL_SCORES = (
    "auroc",
    "average_precision",
    "f1",
    "sensitivity",
    "specificity",
    "sensitivity_at_90_specificity",
    "specificity_at_90_sensitivity",
    "brier",
)
"""Scores of one label against the rest."""


def score_replicates(
    task: Task,
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: Sequence[str] = SCORES,
    thresholds: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Each score on the sample itself and on bootstrap replicates of it.

    Args:
        task: says how probabilities and labels are read.
        probs: (N, labels).
        labels: (N,) int64, or (N, labels) with NaN for unknown.
        patients: (N,) ids; whole patients are drawn where given.
        resamples: number of replicates.
        seed: of the draws; equal seeds draw equal images, so that models can be paired.
        names: out of `score_names(task)`.
        thresholds: see `decide`.

    Returns:
        Per score (1 + resamples,): the point value first. NaN where a score is undefined. Scores
        of single labels (AUROC, average precision, F1, sensitivity, …) are means over the labels
        for which they are defined; of two labels that exclude each other, the second's.
    """
    sample = Sample(task, probs, labels, patients, thresholds)
    weights = draw_blocks(len(probs), patients, resamples, seed)
    parts = [_scores(sample, block, names) for block in weights]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def label_replicates(
    task: Task,
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: Sequence[str] = LABEL_SCORES,
    thresholds: np.ndarray | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Per label and score as `score_replicates`; names are out of `LABEL_SCORES`."""
    sample = Sample(task, probs, labels, patients, thresholds)
    weights = draw_blocks(len(probs), patients, resamples, seed)
    parts = [[column_scores(column, w, names) for column in sample.columns] for w in weights]
    return {
        column.label: {
            name: np.concatenate(found)
            for name, found in zip(names, zip(*by_block, strict=True), strict=True)
        }
        for column, by_block in zip(sample.columns, zip(*parts, strict=True), strict=True)
    }


def scores(
    task: Task,
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: Sequence[str] = SCORES,
    thresholds: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Every named score with its 95 % interval; arguments as in `score_replicates`."""
    replicates = score_replicates(
        task,
        probs,
        labels,
        patients=patients,
        resamples=resamples,
        seed=seed,
        names=names,
        thresholds=thresholds,
    )
    return {name: interval(values) for name, values in replicates.items()}


def point_scores(
    task: Task, probs: np.ndarray, labels: np.ndarray, names: Sequence[str] = SCORES
) -> dict[str, float]:
    """Every named score without interval."""
    replicates = score_replicates(task, probs, labels, resamples=0, names=names)
    return {name: float(values[0]) for name, values in replicates.items()}


def wrong_answers(
    task: Task, labels: np.ndarray, thresholds: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities that know nothing and are just wrong, (N, labels): no answer, for a score.

    All labels are alike but for the true one, which is a trifle less likely, or below the
    threshold.
    """
    if task.kind is Kind.MULTILABEL:
        middle = HALF if thresholds is None else thresholds
        known: np.ndarray = np.where(labels > 0, middle - TRIFLE, middle + TRIFLE)
        return known
    if task.kind is Kind.BINARY and thresholds is not None:
        second = np.where(labels == 1, thresholds[0] - TRIFLE, thresholds[0] + TRIFLE)
        return np.stack([1 - second, second], axis=1)
    count = len(task.labels)
    probs = np.full((len(labels), count), 1 / count)
    probs[np.arange(len(labels)), labels] -= TRIFLE
    return probs


def column_scores(
    column: Column, weights: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Scores of one label against the rest on weights (B, N) of all images, each (B,)."""
    drawn = weights[:, column.known]
    ranking: Ranking | None = None
    found = []
    for name in names:
        if name in _RANKED:
            ranking = ranking or Ranking.of(column.probs, column.positive, drawn)
            found.append(_RANKED[name](ranking))
        else:
            found.append(_COUNTED[name](column, drawn))
    return tuple(found)


def _scores(sample: Sample, weights: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    single = [n for n in names if n in LABEL_SCORES and n not in _WHOLE]
    by_label = [column_scores(column, weights, single) for column in sample.columns]
    means = {
        name: nan_mean(np.stack(values))
        for name, values in zip(single, zip(*by_label, strict=True), strict=True)
    }
    return {n: means[n] if n in means else _WHOLE[n](sample, weights) for n in names}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.where(whole > 0, part / whole, np.nan)
    return found


def _f1(column: Column, weights: np.ndarray) -> np.ndarray:
    hits = weights @ (column.positive & column.given)
    return _ratio(2 * hits, weights @ column.positive + weights @ column.given)


def _sensitivity(column: Column, weights: np.ndarray) -> np.ndarray:
    return _ratio(weights @ (column.positive & column.given), weights @ column.positive)


def _specificity(column: Column, weights: np.ndarray) -> np.ndarray:
    return _ratio(weights @ ~(column.positive | column.given), weights @ ~column.positive)


def _label_brier(column: Column, weights: np.ndarray) -> np.ndarray:
    squares = (column.probs - column.positive) ** 2
    return _ratio(weights @ squares, weights.sum(axis=1))


def _label_log_loss(column: Column, weights: np.ndarray) -> np.ndarray:
    true = np.where(column.positive, column.probs, 1 - column.probs)
    return _ratio(weights @ -np.log(np.clip(true, SMALLEST, 1)), weights.sum(axis=1))


def _accuracy(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Over images, or over known cells."""
    if sample.task.kind is not Kind.MULTILABEL:
        return _ratio(weights @ (sample.answers == sample.labels), weights.sum(axis=1))
    known = ~np.isnan(sample.labels)
    right = known & (sample.answers == (np.nan_to_num(sample.labels) > 0))
    return _ratio((weights @ right).sum(axis=1), (weights @ known).sum(axis=1))


def _balanced_accuracy(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Mean recall; of multilabel tasks the mean of (sensitivity + specificity) / 2."""
    if sample.task.kind is Kind.MULTILABEL:
        sides = [
            (_sensitivity(c, weights[:, c.known]) + _specificity(c, weights[:, c.known])) / 2
            for c in sample.columns
        ]
        return nan_mean(np.stack(sides))
    member = np.eye(len(sample.task.labels))[sample.labels]
    right = (sample.answers == sample.labels).astype(np.float64)
    return nan_mean(_ratio(weights @ (member * right[:, None]), weights @ member).T)


def _quadratic_kappa(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """1 − Σ (answer − truth)² over what chance would give; undefined where nothing varies."""
    truth, answer = sample.labels.astype(np.float64), sample.answers.astype(np.float64)
    count = weights.sum(axis=1)
    seen = weights @ (truth - answer) ** 2
    chance = weights @ truth**2 + weights @ answer**2
    chance -= 2 * _ratio((weights @ truth) * (weights @ answer), count)
    return 1 - _ratio(seen, np.where(chance > SMALLEST * count, chance, 0))


def _brier(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Mean squared error: of each label's probability, or summed over three labels and more."""
    if sample.task.kind is Kind.MULTILABEL or len(sample.task.labels) == 2:
        parts = [_label_brier(c, weights[:, c.known]) for c in sample.columns]
        return nan_mean(np.stack(parts))
    truth = np.eye(len(sample.task.labels))[sample.labels]
    return _ratio(weights @ ((sample.probs - truth) ** 2).sum(axis=1), weights.sum(axis=1))


def _log_loss(sample: Sample, weights: np.ndarray) -> np.ndarray:
    if sample.task.kind is Kind.MULTILABEL:
        parts = [_label_log_loss(c, weights[:, c.known]) for c in sample.columns]
        return nan_mean(np.stack(parts))
    true = sample.probs[np.arange(len(sample)), sample.labels]
    return _ratio(weights @ -np.log(np.clip(true, SMALLEST, 1)), weights.sum(axis=1))


_RANKED: dict[str, Callable[[Ranking], np.ndarray]] = {
    "auroc": Ranking.auroc,
    "average_precision": Ranking.average_precision,
    "sensitivity_at_90_specificity": lambda ranking: ranking.sensitivity_at(STATED),
    "specificity_at_90_sensitivity": lambda ranking: ranking.specificity_at(STATED),
}
_COUNTED: dict[str, Callable[[Column, np.ndarray], np.ndarray]] = {
    "f1": _f1,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "brier": _label_brier,
}
_WHOLE: dict[str, Callable[[Sample, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "quadratic_kappa": _quadratic_kappa,
    "brier": _brier,
    "log_loss": _log_loss,
    "ece": ece,
    "rms_calibration_error": rms_calibration_error,
}
