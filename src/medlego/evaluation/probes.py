"""Linear probes on frozen features: the control that needs no brick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlego.data import Task
from medlego.metrics import point_scores

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C (inverse regularisation) that validation chooses from."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Logistic regression on standardised features, classes weighted to balance."""

    task: Task
    models: tuple[Any, ...]
    strength: float

    def probs(self, features: np.ndarray) -> np.ndarray:
        """(N, features) → (N, labels)."""
        if not self.task.rules.exclusive:
            return np.column_stack([_positive(model, features) for model in self.models])
        model = self.models[0]
        full = np.zeros((len(features), len(self.task.labels)))
        full[:, model.classes_] = model.predict_proba(features)
        return full


def fit_probe(
    task: Task,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
) -> Probe:
    """Fit on train for each strength and keep the best on validation.

    Args:
        task: what is asked.
        train, val: features (N, d) and labels as in `Samples.labels`.

    Returns:
        The probe with the best validation score, which the task's kind names.
    """
    probes = [Probe(task, _fit(task, *train, strength), strength) for strength in STRENGTHS]
    by = task.rules.selects_by
    return max(probes, key=lambda own: point_scores(task, own.probs(val[0]), val[1])[by])


def _fit(task: Task, x: np.ndarray, y: np.ndarray, strength: float) -> tuple[Any, ...]:
    if task.rules.exclusive:
        return (_logistic(strength).fit(x, y),)
    models = []
    for column in y.T:
        known = ~np.isnan(column)
        models.append(_logistic(strength).fit(x[known], column[known].astype(int)))
    return tuple(models)


def _logistic(strength: float) -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
    )


def _positive(model: Any, features: np.ndarray) -> np.ndarray:
    probs: np.ndarray = model.predict_proba(features)[:, list(model.classes_).index(1)]
    return probs
