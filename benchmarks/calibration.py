"""Calibration of specialists, merged and routed generalists on the five sets, before and after.

    python -m benchmarks.calibration [--seeds 0 1 2]

Every calibration is fitted on val alone and judged on test. "stale" is what medlego does not do:
each specialist's own calibration applied to the merge's logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from benchmarks.bricks import get_brick
from benchmarks.common import SETS, arguments, dataset, write_result
from benchmarks.models import SIZE, Merge, alone_features, bricks
from benchmarks.routed import reached
from benchmarks.scoring import BOOTSTRAP_SEED, facts, summary
from medlego.merge import AUTO
from medlego.metrics import (
    PROBABILISTIC,
    RESAMPLES,
    Calibration,
    Replicates,
    Sample,
    ece_floor,
    score_replicates,
)
from medlego.train.calibrate import fit_calibration

NAMES = (*PROBABILISTIC, "balanced_accuracy")
MERGE = Merge("svd", "linear", AUTO)
Logits = Callable[[int, str, str], torch.Tensor]
"""Seed, set and split to the head's logits, (N, outputs)."""


def of_alone(seed: int, name: str, split: str) -> torch.Tensor:
    """By the set's own brick."""
    return bricks("svd", seed)[name].head.logits(alone_features("svd", seed, name, split))


def of_merge(seed: int, name: str, split: str) -> torch.Tensor:
    """By the merge of all five."""
    return bricks("svd", seed)[name].head.logits(MERGE.features(seed, name, split))


@cache
def fitted(logits: Logits, seed: int, name: str) -> Calibration:
    """A calibration of these logits on val."""
    val = dataset(name).val
    calibration = fit_calibration(
        dataset(name).task, logits(seed, name, "val"), val.labels, seed=seed
    )
    assert calibration is not None
    return calibration


def probs(logits: Logits, calibrated_by: Logits | None, seed: int, name: str) -> np.ndarray:
    """Test probabilities of logits, through the calibration of the same or of others."""
    outputs = logits(seed, name, "test").double()
    if calibrated_by is not None:
        outputs = fitted(calibrated_by, seed, name)(outputs)
    return dataset(name).task.rules.probabilities(outputs).numpy()


MODELS: dict[str, tuple[Logits, Logits | None, bool]] = {
    "specialists, as their heads say": (of_alone, None, False),
    "specialists, calibrated": (of_alone, of_alone, False),
    "routed, task unknown, as the heads say": (of_alone, None, True),
    "routed, task unknown, calibrated": (of_alone, of_alone, True),
    "merged, as the heads say": (of_merge, None, False),
    "merged, stale: the specialists' calibrations": (of_merge, of_alone, False),
    "merged, calibrated anew (head-round fit --keep-head)": (of_merge, of_merge, False),
}
"""Logits, whose calibration they go through, and whether only images that are answered count."""


def replicates(model: str, seed: int, number: int, name: str) -> dict[str, Replicates]:
    """Scores of one set and, under `ece_floor`, what chance alone would show."""
    logits, by, routed = MODELS[model]
    task, test = dataset(name).task, dataset(name).test
    rows = np.flatnonzero(reached(name, "test")) if routed else np.arange(len(test))
    probabilities, labels = probs(logits, by, seed, name)[rows], test.labels[rows]
    sample = Sample(task, probabilities, labels)
    drawn = score_replicates(sample, NAMES, resamples=RESAMPLES, seed=BOOTSTRAP_SEED + number)
    floor = np.array([ece_floor(sample)])
    return drawn | {"ece_floor": Replicates(floor, floor, floor)}


def mean(drawn: dict[tuple[str, int], dict[str, Replicates]], score: str) -> Replicates:
    """Over sets and seeds, replicate by replicate on the same draws."""
    return Replicates.mean([part[score] for part in drawn.values()])


def make_row(
    model: str,
    drawn: dict[tuple[str, int], dict[str, Replicates]],
    before: dict[tuple[str, int], dict[str, Replicates]] | None,
    seeds: list[int],
) -> dict[str, Any]:
    """A model's scores, and their differences to the heads' own probabilities."""
    row: dict[str, Any] = {"model": model}
    row |= {f"mean_{score}": summary(mean(drawn, score)) for score in NAMES}
    row["mean_ece_floor"] = round(float(mean(drawn, "ece_floor").values[0]), 4)
    if before is not None:
        row["minus_uncalibrated"] = {
            score: summary(mean(drawn, score) - mean(before, score)) for score in NAMES
        }
    row["sets"] = {
        name: {
            score: [round(float(drawn[name, seed][score].values[0]), 4) for seed in seeds]
            for score in (*NAMES, "ece_floor")
        }
        for name in SETS
    }
    return row


def main() -> None:
    """Parse, score, write."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    before = None
    for model, (_, by, _routed) in MODELS.items():
        draw = partial(replicates, model)
        drawn = {
            (name, seed): draw(seed, number, name)
            for number, name in enumerate(SETS)
            for seed in options.seeds
        }
        before = drawn if by is None else before
        rows.append(make_row(model, drawn, None if by is None else before, options.seeds))
        print(model, {name: rows[-1][f"mean_{name}"]["value"] for name in NAMES}, flush=True)
    write_result(
        f"calibration-{SIZE}px",
        rows,
        seeds=options.seeds,
        **facts(SIZE),
        slopes={
            kind: {
                name: [fitted(logits, seed, name).maps[0].slope for seed in options.seeds]
                for name in SETS
            }
            for kind, logits in (("alone", of_alone), ("merged", of_merge))
        },
        bricks={
            f"{name} svd seed {seed}": get_brick(name, "svd", seed, SIZE).digest
            for seed in options.seeds
            for name in SETS
        },
    )


if __name__ == "__main__":
    main()
