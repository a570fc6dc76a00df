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
from medlego.metrics.bootstrap import RESAMPLES, Replicates, draws, nan_mean, seen_shares
from medlego.metrics.ranking import Ranking
from medlego.metrics.reliability import ece, rms_calibration_error
from medlego.metrics.sample import Column, Sample, several

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
) -> dict[str, Replicates]:
    """Each score on the sample itself and on bootstrap replicates of it.

    Args:
        sample: a model's answers; whole patients are drawn where their ids are known.
        names: out of `score_names(task)`.
        resamples: number of replicates.
        seed: of the draws; equal seeds draw equal images, so that models can be paired.

    Returns:
        Per score. Scores of single labels (AUROC, average precision, F1, sensitivity, …) are means
        over the labels for which they are defined; of two labels that exclude each other, the
        second's.
    """
    values = _values(sample, names, resamples, seed)
    return {n: _replicates(sample, n, sample.columns, own, seed) for n, own in values.items()}


def label_replicates(
    sample: Sample, names: Sequence[str] = (), *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Replicates]]:
    """Per label and score as `score_replicates`; left out, `names` are all of `LABEL_SCORES`."""
    drawn = draws(sample.patient_numbers, resamples, seed)
    parts = [_Block(sample, weights).label_scores(names or LABEL_SCORES) for weights in drawn]
    return {
        column.label: {
            name: _replicates(sample, name, [column], values, seed)
            for name, values in _joined([part[column.label] for part in parts]).items()
        }
        for column in sample.columns
    }


def point_scores(
    task: Task, probs: np.ndarray, labels: np.ndarray, names: Sequence[str] = MAIN_SCORES
) -> dict[str, float]:
    """Every named score of probabilities (N, labels) without interval."""
    values = _values(Sample(task, probs, labels), names, 0, 0)
    return {name: float(own[0]) for name, own in values.items()}


def _values(
    sample: Sample, names: Sequence[str], resamples: int, seed: int
) -> dict[str, np.ndarray]:
    drawn = draws(sample.patient_numbers, resamples, seed)
    return _joined([_Block(sample, weights).scores(names) for weights in drawn])


def _replicates(
    sample: Sample, name: str, columns: Sequence[Column], values: np.ndarray, seed: int
) -> Replicates:
    """A score's values, of a task or of some labels, with what could be out of sight."""
    score, numbers = SCORES[name], sample.patient_numbers
    if (bounds := score.bounds(sample.task)) is None:
        limits = values if len(np.unique(numbers)) > 1 else np.full_like(values, np.nan)
        return Replicates(values, limits, limits)
    terms = [
        [int(np.count_nonzero(np.bincount(numbers[part]))) for part in term]
        for term in score.rests_on(sample, columns)
    ]
    defined = [counts for counts in terms if counts and all(counts)]
    return Replicates.of(values, seen_shares(defined, len(values) - 1, seed), bounds)


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
    sample = block.sample
    if not several(sample.task):
        return block.mean(_label_brier)
    squares = (sample.probs - np.eye(len(sample.task.labels))[sample.labels]) ** 2
    return _weighted_mean(squares.sum(axis=1), block.weights)


def _log_loss(block: _Block) -> np.ndarray:
    sample = block.sample
    if not sample.task.rules.exclusive:
        return block.mean(_label_log_loss)
    true = sample.probs[np.arange(len(sample)), sample.labels]
    return _weighted_mean(_surprise(true), block.weights)


Terms = Iterator[tuple[np.ndarray, ...]]
"""Masks (N,) of the images on which a score's terms rest, see `bootstrap.seen_shares`."""


def _known_images(_: Sample, columns: Sequence[Column]) -> Terms:
    yield (np.any([column.known for column in columns], axis=0),)


def _positives(_: Sample, columns: Sequence[Column]) -> Terms:
    return ((column.where(column.positive),) for column in columns)


def _negatives(_: Sample, columns: Sequence[Column]) -> Terms:
    return ((column.where(~column.positive),) for column in columns)


def _any_side(_: Sample, columns: Sequence[Column]) -> Terms:
    for column in columns:
        sides = (column.where(column.positive), column.where(~column.positive))
        yield tuple(side for side in sides if side.any())


def _both_sides(_: Sample, columns: Sequence[Column]) -> Terms:
    return ((c.where(c.positive), c.where(~c.positive)) for c in columns)


def _each_class(sample: Sample, columns: Sequence[Column]) -> Terms:
    yield from _positives(sample, columns)
    if not several(sample.task):
        yield from _negatives(sample, columns)


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
    rests_on: Callable[[Sample, Sequence[Column]], Terms] = _both_sides
    bounds: Callable[[Task], tuple[float, float] | None] = lambda _: (0.0, 1.0)
    """The least and the most there is; without, draws alone make an interval, of two patients and
    more."""


SCORES: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("accuracy", _accuracy, rests_on=_known_images),
        "balanced_accuracy": Metric("balanced accuracy", _balanced_accuracy, rests_on=_each_class),
        "auroc": Metric("AUROC", of_label=lambda drawn: drawn.ranking.auroc()),
        "average_precision": Metric(
            "average precision", of_label=lambda drawn: drawn.ranking.average_precision()
        ),
        "f1": Metric("F1", of_label=_f1, rests_on=_any_side),
        "sensitivity": Metric(
            "sensitivity", of_label=_sensitivity, every_kind=False, rests_on=_positives
        ),
        "specificity": Metric(
            "specificity", of_label=_specificity, every_kind=False, rests_on=_negatives
        ),
        "sensitivity_at_90_specificity": Metric(
            "sensitivity at 90 % specificity",
            of_label=lambda drawn: drawn.ranking.sensitivity_at(STATED),
        ),
        "specificity_at_90_sensitivity": Metric(
            "specificity at 90 % sensitivity",
            of_label=lambda drawn: drawn.ranking.specificity_at(STATED),
        ),
        "quadratic_kappa": Metric(
            "quadratic κ",
            _quadratic_kappa,
            every_kind=False,
            rests_on=_known_images,
            bounds=lambda _: (-1.0, 1.0),
        ),
        "brier": Metric(
            "Brier score",
            _brier,
            _label_brier,
            of_probabilities=True,
            rests_on=_known_images,
            bounds=lambda task: (0.0, 2.0 if several(task) else 1.0),
        ),
        "log_loss": Metric("log loss", _log_loss, of_probabilities=True, bounds=lambda _: None),
        "ece": Metric(
            "ECE",
            lambda block: ece(block.sample, block.weights),
            of_probabilities=True,
            rests_on=_known_images,
        ),
        "rms_calibration_error": Metric(
            "RMS calibration error",
            lambda block: rms_calibration_error(block.sample, block.weights),
            of_probabilities=True,
            rests_on=_known_images,
        ),
    }
)
PROBABILISTIC = tuple(name for name, score in SCORES.items() if score.of_probabilities)
LABEL_SCORES = tuple(name for name, score in SCORES.items() if score.of_label)
"""Scores of one label against the rest."""
