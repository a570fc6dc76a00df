"""Do intervals hold the truth as often as they say, and what does a gate let through?

    python -m benchmarks.intervals

Samples are drawn from models whose scores are known. Beside `medlego.metrics.interval` stand plain
percentiles of the same bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.common import write_result
from medlego.data import Task
from medlego.metrics import Interval, Replicates, Sample, interval, score_replicates

SAMPLES, RESAMPLES, SEED = 500, 600, 5
MAX_LOSS = 0.02
LOST, GAINED = 0.05, 0.01
"""What the later model errs in of the earlier one's right answers, and the reverse."""
SHARE = 0.9
"""Of answers that are right before."""

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Probabilities (N, labels) and labels (N,)."""


def task(labels: int) -> Task:
    """A task of so many labels."""
    kind = "binary" if labels == 2 else "multiclass"
    return Task(name="t", kind=kind, labels=tuple(f"label {i}" for i in range(labels)))


def answered(labels: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Probabilities of answers that are right or one label off."""
    answers = np.where(right, labels, (labels + 1) % count)
    sure: np.ndarray = np.eye(count)[answers] * 0.8 + 0.2 / count
    return sure


def by_recall(images: int, shares: list[float], recalls: list[float]) -> Draw:
    """Labels with shares, answered right as often as `recalls` say."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(len(shares), images, p=shares)
        right = rng.random(images) < np.array(recalls)[labels]
        return answered(labels, right, len(shares)), labels

    return draw


def by_shift(images: int, share: float, shift: float) -> Draw:
    """Two normal scores `shift` deviations apart."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        labels = (rng.random(images) < share).astype(np.int64)
        second = 1 / (1 + np.exp(-rng.normal(size=images) - shift * labels))
        return np.stack([1 - second, second], axis=1), labels

    return draw


def percentiles(replicates: Replicates) -> Interval:
    """Of the draws alone."""
    values = replicates.values
    return interval(Replicates(values, values, values))


def coverage(name: str, score: str, truth: float, count: int, draw: Draw) -> dict[str, Any]:
    """How often a score's intervals hold the truth, where the score is defined."""
    rng = np.random.default_rng(SEED)
    ways = {"interval": interval, "percentiles": percentiles}
    held: dict[str, list[bool]] = {way: [] for way in ways}
    widths: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(SAMPLES):
        sample = Sample(task(count), *draw(rng))
        if len(np.unique(sample.labels)) < count:
            continue
        own = score_replicates(sample, [score], resamples=RESAMPLES, seed=number)[score]
        for way, summarise in ways.items():
            bounds = summarise(own)
            held[way].append(bounds.low <= truth <= bounds.high)
            widths[way].append(bounds.high - bounds.low)
    return {
        "sample": name,
        "score": score,
        "truth": round(truth, 3),
        "samples": len(held["interval"]),
        **{f"{way}_holds": round(float(np.mean(held[way])), 3) for way in ways},
        **{f"{way}_width": round(float(np.mean(widths[way])), 3) for way in ways},
    }


def gate(images: int) -> dict[str, Any]:
    """How often a loss that is too large passes."""
    rng = np.random.default_rng(SEED)
    passes = {"interval": 0, "percentiles": 0}
    for number in range(SAMPLES):
        labels = rng.integers(0, 2, images)
        before = rng.random(images) < SHARE
        kept, gained = rng.random(images) >= LOST, rng.random(images) < GAINED
        after = np.where(before, kept, gained)
        first, second = (
            score_replicates(
                Sample(task(2), answered(labels, right, 2), labels),
                ["accuracy"],
                resamples=RESAMPLES,
                seed=number,
            )["accuracy"]
            for right in (before, after)
        )
        passes["interval"] += interval(second - first).low >= -MAX_LOSS
        passes["percentiles"] += percentiles(second - first).low >= -MAX_LOSS
    loss = SHARE * LOST - (1 - SHARE) * GAINED
    return {
        "sample": f"gate, {images} images, true loss {loss:.3f}, limit {MAX_LOSS}",
        "score": "accuracy",
        "samples": SAMPLES,
        **{f"{way}_passes": round(count / SAMPLES, 3) for way, count in passes.items()},
    }


def main() -> None:
    """Draw and write."""
    skewed, recalls = [0.7, 0.15, 0.1, 0.05], [0.95, 0.9, 0.85, 0.8]
    rows = [
        coverage(
            "12 images, 98 % right", "accuracy", 0.98, 2, by_recall(12, [0.5] * 2, [0.98] * 2)
        ),
        coverage(
            "30 images, 98 % right", "accuracy", 0.98, 2, by_recall(30, [0.5] * 2, [0.98] * 2)
        ),
        coverage(
            "300 images, 80 % right", "accuracy", 0.8, 2, by_recall(300, [0.5] * 2, [0.8] * 2)
        ),
        *(
            coverage(
                f"{images} images, four labels, 70 to 5 % of them",
                "balanced_accuracy",
                float(np.mean(recalls)),
                4,
                by_recall(images, skewed, recalls),
            )
            for images in (60, 300)
        ),
        *(
            coverage(
                f"{images} images, {share:.0%} positive",
                "auroc",
                float(norm.cdf(shift / np.sqrt(2))),
                2,
                by_shift(images, share, shift),
            )
            for images, share, shift in ((30, 0.2, 3.0), (200, 0.1, 2.0), (500, 0.5, 1.0))
        ),
        *(gate(images) for images in (20, 60, 200)),
    ]
    for row in rows:
        print(row, flush=True)
    write_result("intervals", rows, seeds=[SEED], resamples=RESAMPLES)


if __name__ == "__main__":
    main()
