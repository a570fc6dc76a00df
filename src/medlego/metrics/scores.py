"""Scores of classifiers, each as a point value and on bootstrap replicates.

Every score is computed from per-image weights, so that all replicates are one matrix product.
Point values agree with scikit-learn's; what does not exist is NaN, never a half or zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from medlego.data import Task
from medlego.metrics.bootstrap import RESAMPLES, draws, nan_mean
from medlego.metrics.ranking import Ranking
from medlego.metrics.reliability import ece, rms_calibration_error
from medlego.metrics.sample import Column, Sample

STATED = 0.9
"""The specificity at which sensitivity is reported, and the reverse."""
SMALLEST = float(np.finfo(np.float64).eps)

MAIN_SCORES = ("accuracy", "balanced_accuracy", "auroc")
"""What choices are made by."""


def score_names(task: Task) -> tuple[str, ...]:
    """Every score that a task of this kind has."""
    own = task.rules.scores
    return tuple(name for name, score in SCORES.items() if score.every_kind or name in own)


def score_replicates(
    sample: Sample, names: Sequence[str] = MAIN_SCORES, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Each score on the sample itself and on bootstrap replicates of it.

    Args:
        sample: a model's answers; whole patients are drawn where their ids are known.
        names: out of `score_names(task)`.
        resamples: number of replicates.
        seed: of the draws; equal seeds draw equal images, so that models can be paired.

    Returns:
        Per score (1 + resamples,): the point value first. NaN where a score is undefined. Scores
        of single labels (AUROC, average precision, F1, sensitivity, …) are means over the labels
        for which they are defined; of two labels that exclude each other, the second's.
    """
    drawn = draws(sample.patient_numbers, resamples, seed)
    return _joined([_Block(sample, weights).scores(names) for weights in drawn])


def label_replicates(
    sample: Sample, names: Sequence[str] = (), *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Per label and score as `score_replicates`; left out, `names` are all of `LABEL_SCORES`."""
    drawn = draws(sample.patient_numbers, resamples, seed)
    parts = [_Block(sample, weights).label_scores(names or LABEL_SCORES) for weights in drawn]
    return {label: _joined([part[label] for part in parts]) for label in parts[0]}


def point_scores(
    task: Task, probs: np.ndarray, labels: np.ndarray, names: Sequence[str] = MAIN_SCORES
) -> dict[str, float]:
    """Every named score of probabilities (N, labels) without interval."""
    replicates = score_replicates(Sample(task, probs, labels), names, resamples=0)
    return {name: float(values[0]) for name, values in replicates.items()}


@dataclass(frozen=True, eq=False)
class _DrawnColumn:
    """One label against the rest, and weights (B, n) of the images where it is known."""

    column: Column
    weights: np.ndarray

    @cached_property
    def ranking(self) -> Ranking:
        return Ranking.of(self.column.probs, self.column.positive, self.weights)

    @cached_property
    def hits(self) -> np.ndarray:
        hits: np.ndarray = self.weights @ (self.column.positive & self.column.answered)
        return hits


@dataclass(frozen=True, eq=False)
class _Block:
    """A sample and some replicates' weights (B, N) of its images; scores are (B,)."""

    sample: Sample
    weights: np.ndarray

    @property
    def columns(self) -> Iterator[_DrawnColumn]:
        """One after the other, since each has weights of its own."""
        return (_DrawnColumn(c, self.weights[:, c.known]) for c in self.sample.columns)

    def scores(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        values = {name: score(self) for name in names if (score := SCORES[name].of_task)}
        means = [name for name in names if name not in values]
        by_label = self.label_scores(means).values()
        values |= {n: nan_mean(np.stack([scores[n] for scores in by_label])) for n in means}
        return {name: values[name] for name in names}

    def label_scores(self, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        of_label = {name: score for name in names if (score := SCORES[name].of_label)}
        return {
            drawn.column.label: {name: score(drawn) for name, score in of_label.items()}
            for drawn in self.columns
        }

    def mean(self, score: Callable[[_DrawnColumn], np.ndarray]) -> np.ndarray:
        """Over the labels for which a score is defined."""
        return nan_mean(np.stack([score(column) for column in self.columns]))


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: np.ndarray = np.where(whole > 0, part / whole, np.nan)
    return ratio


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values (N,) and weights (B, N) to (B,)."""
    return _ratio(weights @ values, weights.sum(axis=1))


def _f1(drawn: _DrawnColumn) -> np.ndarray:
    column, weights = drawn.column, drawn.weights
    return _ratio(2 * drawn.hits, weights @ column.positive + weights @ column.answered)


def _sensitivity(drawn: _DrawnColumn) -> np.ndarray:
    return _ratio(drawn.hits, drawn.weights @ drawn.column.positive)


def _specificity(drawn: _DrawnColumn) -> np.ndarray:
    column, weights = drawn.column, drawn.weights
    return _ratio(weights @ ~(column.positive | column.answered), weights @ ~column.positive)


def _label_brier(drawn: _DrawnColumn) -> np.ndarray:
    return _weighted_mean((drawn.column.probs - drawn.column.positive) ** 2, drawn.weights)


def _label_log_loss(drawn: _DrawnColumn) -> np.ndarray:
    probs = drawn.column.probs
    true = np.where(drawn.column.positive, probs, 1 - probs)
    return _weighted_mean(_surprise(true), drawn.weights)


def _surprise(true: np.ndarray) -> np.ndarray:
    """−log of the probabilities of what is true."""
    surprise: np.ndarray = -np.log(np.clip(true, SMALLEST, 1))
    return surprise


def _accuracy(block: _Block) -> np.ndarray:
    """Over images, or over known cells."""
    sample = block.sample
    if sample.task.rules.exclusive:
        return _weighted_mean(sample.answers == sample.labels, block.weights)
    known = ~np.isnan(sample.labels)
    right = known & (sample.answers == (sample.labels > 0))
    return _ratio((block.weights @ right).sum(axis=1), (block.weights @ known).sum(axis=1))


def _balanced_accuracy(block: _Block) -> np.ndarray:
    """Mean recall; of labels that stand alone the mean of (sensitivity + specificity) / 2."""
    sample = block.sample
    if not sample.task.rules.exclusive:
        return block.mean(lambda column: (_sensitivity(column) + _specificity(column)) / 2)
    member = np.eye(len(sample.task.labels))[sample.labels]
    right = (sample.answers == sample.labels).astype(np.float64)
    return nan_mean(_ratio(block.weights @ (member * right[:, None]), block.weights @ member).T)


def _quadratic_kappa(block: _Block) -> np.ndarray:
    """1 − Σ (answer − truth)² over what chance would give; undefined where nothing varies."""
    weights = block.weights
    truth, answer = (p.astype(np.float64) for p in (block.sample.labels, block.sample.answers))
    count = weights.sum(axis=1)
    error = weights @ (truth - answer) ** 2
    chance = weights @ truth**2 + weights @ answer**2
    chance -= 2 * _ratio((weights @ truth) * (weights @ answer), count)
    return 1 - _ratio(error, np.where(chance > SMALLEST * count, chance, 0))


def _brier(block: _Block) -> np.ndarray:
    """Mean squared error: of each label's probability, or summed over three labels and more."""
    sample, count = block.sample, len(block.sample.task.labels)
    if not sample.task.rules.exclusive or count == 2:
        return block.mean(_label_brier)
    squares = (sample.probs - np.eye(count)[sample.labels]) ** 2
    return _weighted_mean(squares.sum(axis=1), block.weights)


def _log_loss(block: _Block) -> np.ndarray:
    sample = block.sample
    if not sample.task.rules.exclusive:
        return block.mean(_label_log_loss)
    true = sample.probs[np.arange(len(sample)), sample.labels]
    return _weighted_mean(_surprise(true), block.weights)


@dataclass(frozen=True)
class Metric:
    """One entry of `SCORES`: a function of a task's replicates, or of a label against the rest.

    Where it has `of_label` alone, a task's is the mean over its labels.
    """

    title: str
    of_task: Callable[[_Block], np.ndarray] | None = None
    of_label: Callable[[_DrawnColumn], np.ndarray] | None = None
    every_kind: bool = True
    """Whether every task has it, or only those whose `Kind.scores` name it."""
    of_probabilities: bool = False
    """Whether it is of probabilities as such, not of their order or of what they decide."""


SCORES: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("accuracy", _accuracy),
        "balanced_accuracy": Metric("balanced accuracy", _balanced_accuracy),
        "auroc": Metric("AUROC", of_label=lambda drawn: drawn.ranking.auroc()),
        "average_precision": Metric(
            "average precision", of_label=lambda drawn: drawn.ranking.average_precision()
        ),
        "f1": Metric("F1", of_label=_f1),
        "sensitivity": Metric("sensitivity", of_label=_sensitivity, every_kind=False),
        "specificity": Metric("specificity", of_label=_specificity, every_kind=False),
        "sensitivity_at_90_specificity": Metric(
            "sensitivity at 90 % specificity",
            of_label=lambda drawn: drawn.ranking.sensitivity_at(STATED),
        ),
        "specificity_at_90_sensitivity": Metric(
            "specificity at 90 % sensitivity",
            of_label=lambda drawn: drawn.ranking.specificity_at(STATED),
        ),
        "quadratic_kappa": Metric("quadratic κ", _quadratic_kappa, every_kind=False),
        "brier": Metric("Brier score", _brier, _label_brier, of_probabilities=True),
        "log_loss": Metric("log loss", _log_loss, of_probabilities=True),
        "ece": Metric("ECE", lambda block: ece(block.sample, block.weights), of_probabilities=True),
        "rms_calibration_error": Metric(
            "RMS calibration error",
            lambda block: rms_calibration_error(block.sample, block.weights),
            of_probabilities=True,
        ),
    }
)
PROBABILISTIC = tuple(name for name, score in SCORES.items() if score.of_probabilities)
LABEL_SCORES = tuple(name for name, score in SCORES.items() if score.of_label)
"""Scores of one label against the rest."""
