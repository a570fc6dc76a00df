"""Scoring lines of a table on the five sets: cached features, bootstrap replicates, rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from benchmarks.common import BASE_FILE, CACHE, SETS, SHARED, base, dataset, key
from medlego.base import Inputs, features
from medlego.bricks import Head
from medlego.data import Task
from medlego.evaluation.evaluate import normalised_balanced_accuracy
from medlego.metrics import (
    RESAMPLES,
    Replicates,
    Sample,
    interval,
    point_scores,
    score_replicates,
)

BOOTSTRAP_SEED = 2026
BATCH = 64

Probs = Callable[[int, str, str], np.ndarray]
"""Seed, set and split to probabilities, (N, labels)."""

Drawn = Mapping[str, Mapping[str, Replicates]]
"""Per set and score."""


@dataclass(frozen=True)
class Contender:
    """One line of a table: how to get its probabilities for a seed, set and split."""

    method: str
    coefficients: str
    uses_data: bool
    probs: Probs
    seeds: tuple[int, ...]
    default: bool = False
    note: str = ""
    group: str = ""
    """Heading that the line stands under."""


@cache
def inputs(name: str, split: str, image_size: int) -> Inputs:
    """One split's inputs, decoded once."""
    return Inputs(dataset(name).split(split).images, base(image_size))


def cached_features(
    label: str,
    identity: Any,
    build: Callable[[], nn.Module],
    name: str,
    split: str,
    size: int,
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor] = features,
) -> torch.Tensor:
    """Pooled features of a split, (N, features), from the cache where they were computed before.

    Args:
        label: for the file's name and the progress line.
        identity: whatever decides the model besides base, set and split; hashed.
        build: makes the model; called only where nothing is cached.
        name, split, size: which images, and the input side.
        forward: module and normalised inputs to features.
    """
    decided = key(identity, size, name, split)
    path = CACHE / "features" / f"{label}-{name}-{split}-{decided}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            print(f"  features: {label}, {name}, {split}", flush=True)
            module, frozen, images = build(), base(size), inputs(name, split, size)
            with torch.inference_mode():
                parts = [
                    forward(module, frozen.normalise(batch)) for batch in images.batches(BATCH)
                ]
            scratch = path.with_suffix(f".{os.getpid()}.tmp.npy")
            np.save(scratch, torch.cat(parts).float().numpy())
            scratch.replace(path)
    return torch.from_numpy(np.load(path))


def read(task: Task, head: Head, pooled: torch.Tensor) -> np.ndarray:
    """A head's probabilities, float64."""
    probs: np.ndarray = task.rules.probabilities(head.logits(pooled)).double().numpy()
    return probs


def balanced_accuracy(probs: Probs, seed: int, name: str, split: str) -> float:
    """One number without an interval, for choices on validation."""
    data = dataset(name)
    scores = point_scores(data.task, probs(seed, name, split), data.split(split).labels)
    return scores["balanced_accuracy"]


def draw(line: Contender) -> dict[int, dict[str, dict[str, Replicates]]]:
    """Test scores of one line: per seed and set the point value and its replicates."""
    return {
        seed: {
            name: score_replicates(
                Sample(
                    dataset(name).task,
                    line.probs(seed, name, "test"),
                    dataset(name).test.labels,
                ),
                resamples=RESAMPLES,
                seed=BOOTSTRAP_SEED + number,
            )
            for number, name in enumerate(SETS)
        }
        for seed in line.seeds
    }


def make_row(
    line: Contender,
    drawn: Mapping[int, Drawn],
    alone: Mapping[int, Drawn],
    probes: Drawn,
    default: Mapping[int, Drawn] | None = None,
) -> dict[str, Any]:
    """A line's scores with intervals.

    A replicate is the mean over the seeds on the same draw, so an interval speaks of test
    images, and `seed_deviation` of seeds. `alone` are the plainly trained specialists, the
    divisor; differences to `probes` and to the `default` line are paired, seed by seed where the
    other has the same seeds.
    """
    mean = _mean_over_sets(drawn, line.seeds)
    normalised = Replicates.mean(
        [normalised_balanced_accuracy(drawn[s], alone[s]) for s in line.seeds]
    )
    over_probes = mean - Replicates.mean([probes[n]["balanced_accuracy"] for n in SETS])
    per_seed = [
        float(np.mean([drawn[s][n]["balanced_accuracy"].values[0] for n in SETS]))
        for s in line.seeds
    ]
    row: dict[str, Any] = {"group": line.group} if line.group else {}
    row |= {
        "method": line.method,
        "coefficients": line.coefficients,
        "uses_data": line.uses_data,
        "default": line.default,
        "seeds": list(line.seeds),
        "note": line.note,
        "mean_balanced_accuracy": summary(mean),
        "mean_normalised_balanced_accuracy": summary(normalised),
        "minus_linear_probes": summary(over_probes),
        "seed_deviation": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        "sets": {
            name: {
                score: summary(Replicates.mean([drawn[s][name][score] for s in line.seeds]))
                for score in ("accuracy", "balanced_accuracy", "auroc")
            }
            for name in SETS
        },
    }
    if default is not None:
        row["minus_default"] = summary(mean - _mean_over_sets(default, line.seeds))
    return row


def summary(replicates: Replicates | np.ndarray) -> dict[str, Any]:
    """Point value and 95 % interval, rounded: of the draws alone, as in all committed tables."""
    values = replicates.values if isinstance(replicates, Replicates) else replicates
    estimate = interval(Replicates(values, values, values))
    return {
        "value": round(estimate.value, 4),
        "interval": [round(estimate.low, 4), round(estimate.high, 4)],
    }


def facts(image_size: int, sets: Iterable[str] = SETS) -> dict[str, Any]:
    """What `write_result` says of base, data and intervals."""
    return {
        "data": [BASE_FILE, *(SHARED / "data" / f"{name}.npz" for name in sets)],
        "base": base(image_size).ref.model_dump(mode="json"),
        "bootstrap": {"resamples": RESAMPLES, "seed": BOOTSTRAP_SEED, "level": 0.95},
    }


def _mean_over_sets(drawn: Mapping[int, Drawn], seeds: Iterable[int]) -> Replicates:
    return Replicates.mean([drawn[s][n]["balanced_accuracy"] for s in seeds for n in SETS])
