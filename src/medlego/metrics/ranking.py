"""Scores that look at the order of probabilities only, for one label against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SLACK = 1e-9
"""What a share of images may fall short of a stated one by rounding, in images."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Images at or above each distinct score, highest first, per replicate.

    `hits` and `alarms` are (B, V): positives and negatives among them. `positives` and `negatives`
    are (B,): all there are.
    """

    hits: np.ndarray
    alarms: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> Ranking:
        """(N,) scores, (N,) truth and (B, N) weights; ties are one threshold."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        last = np.flatnonzero(np.append(np.diff(ranked) != 0, True)[: len(ranked)])
        drawn, up = weights[:, order], positive[order]
        hits = np.cumsum(drawn * up, axis=1)[:, last]
        alarms = np.cumsum(drawn * ~up, axis=1)[:, last]
        totals = (weights[:, positive].sum(axis=1), weights[:, ~positive].sum(axis=1))
        return cls(hits, alarms, *totals)

    def auroc(self) -> np.ndarray:
        """Area under the ROC curve, ties counted half, (B,)."""
        heights = self.hits - _gained(self.hits) / 2
        area = (_gained(self.alarms) * heights).sum(axis=1)
        return self._share(area, self.positives * self.negatives)

    def average_precision(self) -> np.ndarray:
        """Σ (recall gained) · precision over the thresholds, (B,)."""
        called = self.hits + self.alarms
        precision = self.hits / np.where(called > 0, called, 1)
        area = (_gained(self.hits) * precision).sum(axis=1)
        return self._share(area, self.positives)

    def sensitivity_at(self, specificity: float) -> np.ndarray:
        """The largest sensitivity of a threshold with at least this specificity, (B,)."""
        rejected = self.negatives[:, None] - self.alarms
        allowed = rejected >= specificity * self.negatives[:, None] - SLACK
        most = np.where(allowed, self.hits, 0).max(axis=1, initial=0)
        return self._share(most, self.positives)

    def specificity_at(self, sensitivity: float) -> np.ndarray:
        """The largest specificity of a threshold with at least this sensitivity, (B,)."""
        rejected = self.negatives[:, None] - self.alarms
        allowed = self.hits >= sensitivity * self.positives[:, None] - SLACK
        most = np.where(allowed, rejected, 0).max(axis=1, initial=0)
        return self._share(most, self.negatives)

    def _share(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """NaN where one side is missing: nothing can be told apart then."""
        defined = (self.positives > 0) & (self.negatives > 0)
        return np.where(defined, part / np.where(defined, whole, 1), np.nan)


def _gained(counts: np.ndarray) -> np.ndarray:
    """What each threshold adds to the one before."""
    return np.diff(counts, axis=1, prepend=0)
