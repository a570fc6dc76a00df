"""Fitting a task's head to pooled features: a convex problem of features × labels numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medlego.bricks import Head
from medlego.data import Task
from medlego.metrics import point_scores
from medlego.train.head import explicit, new_head

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""C of logistic regression, tried in turn."""


def fit_head(task: Task, features: Tensor, labels: Tensor, strength: float) -> Head:
    """Minimise the task's balanced loss plus ‖W‖² / (2 · strength · N) on standardised features.

    Args:
        task: its kind decides the loss.
        features: (N, d), float64.
        labels: as in `Samples.labels`.
        strength: C of logistic regression, inverse regularisation, above zero.

    Returns:
        The head for features as they are, not standardised; float32.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)
    standard = (features - mean) / spread
    weights = task.rules.class_weights(labels.numpy()).double()
    head = [part.detach().double() for part in new_head(task, features.shape[1], "cpu")]
    parameters = [torch.nn.Parameter(part) for part in head]
    search = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        weight, bias = explicit(task, parameters)
        value = task.rules.loss(standard @ weight.T + bias, labels, weights)
        value = value + weight.square().sum() / (2 * strength * len(features))
        torch.autograd.backward(value)
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    weight, bias = (tensor.detach() for tensor in explicit(task, parameters))
    scaled = weight / spread
    return Head(scaled.float(), (bias - scaled @ mean).float())


Labelled = tuple[Tensor, np.ndarray]
"""Features (N, d) and labels as in `Samples.labels`."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head, the strength it was fitted with, and how it does on each validation set.

    `score` and `loss`, which is balanced, are means over the sets; `scores` has one entry for each.
    """

    head: Head
    strength: float
    score: float
    loss: float
    scores: tuple[dict[str, float], ...]


def choose_head(task: Task, train: Labelled, vals: Sequence[Labelled]) -> FittedHead:
    """Fit a head on train for each of `STRENGTHS`, and keep the best on validation.

    Args:
        task: its kind decides loss and score.
        train: what to fit on.
        vals: one or more validation sets, which count alike.
    """
    return max(
        (_fit_one(task, train, vals, strength) for strength in STRENGTHS),
        key=lambda fitted: (fitted.score, -fitted.loss),
    )


def _fit_one(task: Task, train: Labelled, vals: Sequence[Labelled], strength: float) -> FittedHead:
    head = fit_head(task, train[0].double(), torch.from_numpy(train[1]), strength)
    rules, scores, losses = task.rules, [], []
    weights = rules.class_weights(train[1]).double()
    for features, labels in vals:
        logits = head.logits(features.double())
        scores.append(point_scores(task, rules.probabilities(logits).numpy(), labels))
        losses.append(float(rules.loss(logits, torch.from_numpy(labels), weights)))
    return FittedHead(
        head,
        strength,
        score=float(np.mean([own[rules.selects_by] for own in scores])),
        loss=round(float(np.mean(losses)), 6),
        scores=tuple({n: round(value, 6) for n, value in own.items()} for own in scores),
    )
