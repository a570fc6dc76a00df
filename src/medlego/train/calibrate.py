"""Fitting a calibration to validation logits, by whatever cross-validation finds best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from medlego.bricks import probabilities
from medlego.data import Kind, Task
from medlego.metrics import MAX_KNOTS, Aim, Calibration, LogitMap, OperatingPoint, has_thresholds

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

    A temperature for multiclass and ordinal tasks; for binary tasks and each label of multilabel
    ones Platt's sigmoid or, of many images, isotonic regression with its steps joined to a rising
    line. Each is kept only where it lowers the cross-validated log loss.

    Args:
        task: says how logits are read.
        logits: (N, outputs), as the head gives them.
        labels: as in `Samples.labels`.
        patients: (N,) ids where known; whole patients share a fold.
        aim: choose thresholds for it, in binary and multilabel tasks.
        seed: of the folds.

    Returns:
        None where there are too few images for any map.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature); Platt 1999, Probabilistic outputs for
    support vector machines; Oron and Flournoy 2017, arXiv:1701.05964 (joined steps).
    """
    found = logits.detach().double().cpu()
    folds = _folds(labels, patients, seed)
    if has_thresholds(task):
        return _by_label(task, found, labels, folds, aim)
    if len(labels) < MIN_IMAGES:
        return None

    def loss(part: Tensor, truth: np.ndarray) -> float:
        probs = probabilities(task, part)[torch.arange(len(truth)), torch.from_numpy(truth)]
        return float(-probs.clamp(min=LEAST).log().mean())

    def temperature(part: Tensor, truth: np.ndarray) -> LogitMap:
        search = minimize_scalar(
            lambda log: loss(part * math.exp(log), truth), bounds=(-3.0, 3.0), method="bounded"
        )
        slope = _rounded(math.exp(search.x))
        return LogitMap(method="temperature", slope=slope, x=(0.0,), y=(0.0,))

    chosen, before, after = _choose(found, labels, folds, [temperature], loss)
    return Calibration(
        images=len(labels),
        maps=(chosen,),
        loss_before=_rounded(before),
        loss_after=_rounded(after),
        operating=None,
    )


def _by_label(
    task: Task, logits: Tensor, labels: np.ndarray, folds: np.ndarray, aim: Aim | None
) -> Calibration | None:
    truth = labels if task.kind is Kind.MULTILABEL else labels[:, None].astype(np.float64)
    maps: list[LogitMap] = []
    losses: list[tuple[float, float]] = []
    thresholds: list[float | None] = []
    for number in range(truth.shape[1]):
        known = ~np.isnan(truth[:, number])
        part, positive = logits[torch.from_numpy(known), number], truth[known, number] > 0
        least = int(min(positive.sum(), (~positive).sum()))
        fits: list[Fit] = [fit_platt] if least >= MIN_SIDE else []
        if len(positive) >= ISOTONIC_IMAGES and least >= ISOTONIC_SIDE:
            fits.append(fit_isotonic)
        chosen, *both = _choose(part, positive, folds[known], fits, _binary_loss)
        maps.append(chosen)
        if fits:
            losses.append((both[0], both[1]))
        enough = fits and aim is not None
        thresholds.append(choose_threshold(chosen(part).numpy(), positive, aim) if enough else None)
    if not losses:
        return None
    before, after = np.mean(losses, axis=0)
    point = None
    if aim is not None:
        point = OperatingPoint(**aim.model_dump(), thresholds=tuple(thresholds))
    return Calibration(
        images=len(labels),
        maps=tuple(maps),
        loss_before=_rounded(before),
        loss_after=_rounded(after),
        operating=point,
    )


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

    found = minimize(
        loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(1e-3, 1e3), (None, None)]
    )
    slope, offset = (_rounded(value) for value in found.x)
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


def choose_threshold(logits: np.ndarray, positive: np.ndarray, aim: Aim | None) -> float:
    """The probability above which images reach the aim, half-way to the next image's logit.

    Of all that do, the one with the most of the other side.
    """
    assert aim is not None
    seek = positive if aim.aim == "sensitivity" else ~positive
    sign = 1.0 if aim.aim == "sensitivity" else -1.0
    turned = sign * logits
    needed = math.ceil(aim.value * seek.sum() - 1e-9)
    last = np.sort(turned[seek])[::-1][needed - 1]
    below = turned[turned < last]
    middle = (last + below.max()) / 2 if below.size else last - 1
    return float(np.clip(expit(sign * middle), LEAST, 1 - LEAST))


def _choose(
    logits: Tensor, truth: np.ndarray, folds: np.ndarray, fits: Sequence[Fit], loss: Loss
) -> tuple[LogitMap, float, float]:
    """The fit of least cross-validated loss, or nothing; the losses of nothing and of it."""
    if not len(truth):
        return NOTHING, 0.0, 0.0
    before = loss(logits, truth)
    best, least = None, before
    some = len(np.unique(folds)) > 1  # images of one patient leave none to fit on
    for fit in fits if some else ():
        found = logits.clone()
        for fold in np.unique(folds):
            held = folds == fold
            found[torch.from_numpy(held)] = fit(logits[torch.from_numpy(~held)], truth[~held])(
                logits[torch.from_numpy(held)]
            )
        if (after := loss(found, truth)) < least:
            best, least = fit, after
    return (NOTHING if best is None else best(logits, truth)), before, least


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
