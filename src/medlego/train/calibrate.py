"""Fitting a calibration to validation logits, by whatever cross-validation finds best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from medlego.data import Task
from medlego.metrics import MAX_KNOTS, Aim, Calibration, LogitMap, OperatingPoint

MIN_IMAGES = 30
"""Fewer images fit no temperature."""
MIN_SIDE = 10
"""Fewer images with, or without, a label fit no map of it and choose no threshold."""
ISOTONIC_IMAGES, ISOTONIC_SIDE = 1000, 100
"""Below about a thousand images isotonic regression overfits (Niculescu-Mizil and Caruana 2005,
Predicting good probabilities with supervised learning, section 5)."""
FOLDS = 5
DIGITS = 6
LEAST = 1e-12

NOTHING = LogitMap(method="none", slope=1.0, x=(0.0,), y=(0.0,))

Fit = Callable[[Tensor, np.ndarray], LogitMap]
Loss = Callable[[Tensor, np.ndarray], float]


def fit_calibration(
    task: Task,
    logits: Tensor,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    aim: Aim | None = None,
    seed: int = 0,
) -> Calibration | None:
    """The calibration of a model's logits on validation images.

    One temperature; or where each logit is one label's alone (`Kind.thresholds`), Platt's sigmoid
    or, of many images, isotonic regression with its steps joined to a rising line. Each is kept
    only where it lowers the cross-validated log loss.

    Args:
        task: says how logits are read.
        logits: (N, outputs), as the head gives them.
        labels: as in `Samples.labels`.
        patients: (N,) ids where known; whole patients share a fold.
        aim: choose thresholds for it, where the kind has any.
        seed: of the folds.

    Returns:
        None where there are too few images for any map.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature); Platt 1999, Probabilistic outputs for
    support vector machines; Oron and Flournoy 2017, arXiv:1701.05964 (joined steps).
    """
    z, folds = logits.detach().double().cpu(), _folds(labels, patients, seed)
    if task.rules.thresholds:
        outputs = task.head_shape[1]
        truth = task.rules.matrix(labels)[:, -outputs:]
        choices = [_of_logit(z[:, n], truth[:, n], folds, aim) for n in range(outputs)]
    else:
        fits: list[Fit] = [partial(fit_temperature, task)] if len(labels) >= MIN_IMAGES else []
        choices, aim = [_choose(z, labels, folds, fits, partial(_log_loss, task))], None
    losses = [(choice.before, choice.after) for choice in choices if choice.tried]
    if not losses:
        return None
    before, after = np.mean(losses, axis=0)
    point = None
    if aim is not None:
        thresholds = tuple(choice.threshold for choice in choices)
        point = OperatingPoint(aim=aim.aim, value=aim.value, thresholds=thresholds)
    return Calibration(
        images=len(labels),
        maps=tuple(choice.map for choice in choices),
        loss_before=_rounded(before),
        loss_after=_rounded(after),
        operating=point,
    )


class _Choice(NamedTuple):
    """The map of least cross-validated loss, the losses without and with it.

    `tried` says whether there were images enough for any; `threshold` reaches the aim, if one was
    set.
    """

    map: LogitMap
    before: float
    after: float
    tried: bool
    threshold: float | None = None


def _of_logit(logits: Tensor, truth: np.ndarray, folds: np.ndarray, aim: Aim | None) -> _Choice:
    """Of one label: logits (N,), and truth (N,) with NaN for unknown."""
    known = ~np.isnan(truth)
    z, positive = logits[torch.from_numpy(known)], truth[known] > 0
    side = int(min(positive.sum(), (~positive).sum()))
    fits: list[Fit] = [fit_platt] if side >= MIN_SIDE else []
    if len(positive) >= ISOTONIC_IMAGES and side >= ISOTONIC_SIDE:
        fits.append(fit_isotonic)
    choice = _choose(z, positive, folds[known], fits, _binary_loss)
    if aim is None or not fits:
        return choice
    return choice._replace(threshold=choose_threshold(choice.map(z).numpy(), positive, aim))


def fit_temperature(task: Task, logits: Tensor, labels: np.ndarray) -> LogitMap:
    """The temperature of logits (N, outputs) at the least log loss."""
    search = minimize_scalar(
        lambda log: _log_loss(task, logits * math.exp(log), labels),
        bounds=(-3.0, 3.0),
        method="bounded",
    )
    slope = _rounded(math.exp(search.x))
    return LogitMap(method="temperature", slope=slope, x=(0.0,), y=(0.0,))


def _log_loss(task: Task, logits: Tensor, labels: np.ndarray) -> float:
    probs = task.rules.probabilities(logits)
    true = probs[torch.arange(len(labels)), torch.from_numpy(labels)]
    return float(-true.clamp(min=LEAST).log().mean())


def fit_platt(logits: Tensor, positive: np.ndarray) -> LogitMap:
    """Slope and offset of logits (N,) at the least log loss, targets drawn in as Platt's are."""
    z, ups, downs = logits.numpy(), int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (ups + 1) / (ups + 2), 1 / (downs + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        t = parameters[0] * z + parameters[1]
        gap = expit(t) - target
        return float((np.logaddexp(0, t) - target * t).mean()), np.array(
            [(gap * z).mean(), gap.mean()]
        )

    search = minimize(
        loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(1e-3, 1e3), (None, None)]
    )
    slope, offset = (_rounded(value) for value in search.x)
    return LogitMap(method="platt", slope=slope, x=(0.0,), y=(offset,))


def fit_isotonic(logits: Tensor, positive: np.ndarray) -> LogitMap:
    """Steps of isotonic regression on logits (N,), joined at their middles and drawn in.

    A step of k positives in n is taken for (k + ½) / (n + 1), so that none is certain.
    """
    z = logits.numpy()
    steps = IsotonicRegression().fit_transform(z, positive.astype(np.float64))
    _, of, sizes = np.unique(steps, return_inverse=True, return_counts=True)
    middles = np.bincount(of, z) / sizes
    shares = (np.bincount(of, positive) + 0.5) / (sizes + 1)
    again = IsotonicRegression().fit_transform(middles, shares, sample_weight=sizes)
    _, first = np.unique(again, return_index=True)
    if len(first) > MAX_KNOTS:
        first = first[np.linspace(0, len(first) - 1, MAX_KNOTS).round().astype(int)]
    knots: list[tuple[float, float]] = []
    for x, y in zip(middles[first], logit(again[first]), strict=True):
        knot = _rounded(x), _rounded(y)
        if not knots or (knot[0] > knots[-1][0] and knot[1] > knots[-1][1]):
            knots.append(knot)  # two that rounding makes equal are one
    if len(knots) < 2:
        return NOTHING
    xs, ys = zip(*knots, strict=True)
    return LogitMap(method="isotonic", slope=1.0, x=xs, y=ys)


def choose_threshold(logits: np.ndarray, positive: np.ndarray, aim: Aim) -> float:
    """The probability above which images reach the aim, half-way to the next image's logit.

    Of all that do, the one with the most of the other side.
    """
    sign = 1.0 if aim.aim == "sensitivity" else -1.0
    side, turned = positive if sign > 0 else ~positive, sign * logits
    needed = math.ceil(aim.value * side.sum() - 1e-9)
    last = np.sort(turned[side])[::-1][needed - 1]
    below = turned[turned < last]
    middle = (last + below.max()) / 2 if below.size else last - 1
    return float(np.clip(expit(sign * middle), LEAST, 1 - LEAST))


def _choose(
    logits: Tensor, truth: np.ndarray, folds: np.ndarray, fits: Sequence[Fit], loss: Loss
) -> _Choice:
    if not len(truth):
        return _Choice(NOTHING, 0.0, 0.0, tried=bool(fits))
    before = loss(logits, truth)
    best, least = None, before
    some = len(np.unique(folds)) > 1  # images of one patient leave none to fit on
    for fit in fits if some else ():
        mapped = logits.clone()
        for fold in np.unique(folds):
            inside = torch.from_numpy(folds == fold)
            mapped[inside] = fit(logits[~inside], truth[folds != fold])(logits[inside])
        if (after := loss(mapped, truth)) < least:
            best, least = fit, after
    logit_map = NOTHING if best is None else best(logits, truth)
    return _Choice(logit_map, before, least, tried=bool(fits))


def _binary_loss(logits: Tensor, positive: np.ndarray) -> float:
    z = logits.numpy()
    return float((np.logaddexp(0, z) - positive * z).mean())


def _folds(labels: np.ndarray, patients: np.ndarray | None, seed: int) -> np.ndarray:
    """A fold per image: patients are dealt out in turn, like labels together."""
    ids = (
        np.arange(len(labels)) if patients is None else np.unique(patients, return_inverse=True)[1]
    )
    _, first = np.unique(ids, return_index=True)
    known = labels if labels.ndim == 1 else np.nansum(labels, axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = np.lexsort((shuffled, known[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[ids]


def _rounded(value: float) -> float:
    """So that the last bits of a search do not decide a brick's bytes."""
    return float(f"{value:.{DIGITS}g}")
