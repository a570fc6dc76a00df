"""What a static merge of five real specialists keeps, beside controls and ceilings.

    python -m benchmarks.main_job                  # 112 px, seeds 0 1 2
    python -m benchmarks.main_job --image-size 224 --seeds 0

Missing bricks are trained first (see `benchmarks.bricks`; hours on two cores, resumable). λ is
chosen on the validation splits; the test splits are read once, for the table. Intervals are 95 %
bootstraps over test images; with several seeds a replicate is the mean over the seeds on the same
draw, so an interval speaks of test images, and `seed_deviation` of seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from benchmarks.bricks import JOINT_RANK, get_brick, jobs_for, train_all
from benchmarks.common import SETS, base, dataset, write_result
from benchmarks.scoring import (
    Contender,
    Probs,
    balanced_accuracy,
    cached_features,
    draw,
    facts,
    make_row,
    read,
)
from medlego.bricks import Brick
from medlego.evaluation.probes import fit_probe
from medlego.generalist import Generalist, assemble, specialist

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)

HAND_MADE = {
    "btc_mri": 0.86,
    "busi_us": 0.65,
    "covid_cxr": 0.81,
    "ham_derm": 0.38,
    "wbc_zheng": 0.75,
}
"""Balanced accuracy of HOG and histograms, the better of two models: shared/data/DATASETS.md."""


class Job:
    """All contenders at one input size; features are computed once and kept on disk."""

    def __init__(self, image_size: int, seeds: list[int]) -> None:
        self.image_size, self.seeds = image_size, tuple(seeds)

    def features(self, generalist: Generalist, label: str, name: str, split: str) -> torch.Tensor:
        """Pooled features of a split under a merged model."""
        identity = [generalist.recipe.digest, len(generalist.deltas)]
        build = partial(generalist.fold, base(self.image_size))
        return cached_features(label, identity, build, name, split, self.image_size)

    def bricks(self, seed: int, variant: str = "svd") -> dict[str, Brick]:
        """The five bricks of a seed."""
        return {name: get_brick(name, variant, seed, self.image_size) for name in SETS}

    def specialist(self, variant: str) -> Probs:
        """Each set with its own brick."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            brick = self.bricks(seed, variant)[name]
            return read(
                brick.task, brick.head, self.features(specialist(brick), variant, name, split)
            )

        return probs

    def bare(self, seed: int, name: str, split: str) -> np.ndarray:
        """The specialist's head on the untouched base."""
        brick = self.bricks(seed)[name]
        return read(brick.task, brick.head, self.frozen(name, split))

    def frozen(self, name: str, split: str) -> torch.Tensor:
        """Features of the untouched base; the same whichever brick is taken off."""
        brick = get_brick(next(iter(SETS)), "svd", self.seeds[0], self.image_size)
        alone = specialist(replace(brick, calibration=None))
        return self.features(replace(alone, targets=(), deltas={}), "frozen", name, split)

    def probe(self, _seed: int, name: str, split: str) -> np.ndarray:
        """A linear probe, its strength chosen on val."""
        data = dataset(name)
        pairs = [(self.frozen(name, s).numpy(), data.split(s).labels) for s in ("train", "val")]
        return fit_probe(data.task, *pairs).probs(self.frozen(name, split).numpy())

    def merge(self, method: str, coefficients: Any) -> Probs:
        """A generalist with given coefficients."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            bricks = self.bricks(seed)
            merged = assemble(list(bricks.values()), method, coefficients=coefficients)
            label = f"{method}-{merged.recipe.bricks[0].coefficient:.3f}"
            return read(
                bricks[name].task, bricks[name].head, self.features(merged, label, name, split)
            )

        return probs

    def searched(self, method: str) -> Probs:
        """A generalist whose λ is the best on the validation splits."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            return self.merge(method, self.best_lambda(method, seed))(seed, name, split)

        return probs

    @cache  # noqa: B019
    def best_lambda(self, method: str, seed: int) -> float:
        """The λ with the best mean normalised balanced accuracy on val."""
        alone = self.specialist("svd")

        def balanced(probs: Probs, name: str) -> float:
            return balanced_accuracy(probs, seed, name, "val")

        whole = {name: balanced(alone, name) for name in SETS}
        scores = {
            value: np.mean([balanced(self.merge(method, value), n) / whole[n] for n in SETS])
            for value in LAMBDAS
        }
        best = max(scores, key=lambda value: scores[value])
        print(f"  {method}, seed {seed}: λ = {best} on validation ({scores[best]:.3f})", flush=True)
        return best

    def contenders(self) -> list[Contender]:
        """The table's lines."""
        every, first = self.seeds, self.seeds[:1]
        lines = [
            Contender("linear probes on the frozen base", "-", False, self.probe, first),
            Contender("base with the specialists' heads", "-", False, self.bare, every),
            Contender("SVD-LoRA specialists", "-", False, self.specialist("svd"), every),
            Contender(
                "plain LoRA specialists",
                "-",
                False,
                self.specialist("lora"),
                first,
                note="rates not tuned for plain LoRA",
            ),
        ]
        for method in ("linear", "lego"):
            root = self.merge(method, "root")
            mean = self.merge(method, 1 / len(SETS))
            lines += [
                Contender(method, "1/√K, all blocks alike", False, root, every, method == "linear"),
                Contender(method, "1/K", False, mean, every),
                Contender(method, "best λ on val", True, self.searched(method), every),
            ]
        note = f"rank {JOINT_RANK}; all images in one place, what medlego exists to avoid"
        joint = self.specialist("joint")
        return [*lines, Contender("joint training (ceiling)", "-", True, joint, first, note=note)]


def run(image_size: int, seeds: list[int]) -> None:
    """Evaluate every line and write the result."""
    job = Job(image_size, seeds)
    lines = job.contenders()
    drawn = {id(line): draw(line) for line in lines}
    by_name = {line.method: drawn[id(line)] for line in lines}
    alone, probes = by_name["SVD-LoRA specialists"], by_name[lines[0].method][seeds[0]]
    rows = [_hand_made_row()]
    rows += [make_row(line, drawn[id(line)], alone, probes) for line in lines]
    for line, row in zip(lines, rows[1:], strict=True):
        if line.coefficients == "best λ on val":
            row["lambda"] = {str(seed): job.best_lambda(line.method, seed) for seed in line.seeds}
    path = write_result(
        f"main_job-{image_size}px",
        rows,
        seeds=seeds,
        **facts(image_size),
        bricks={
            f"{name} seed {seed}": get_brick(name, "svd", seed, image_size).digest
            for seed in seeds
            for name in SETS
        },
    )
    print(f"wrote {path}; python -m benchmarks.tables makes the page")


def _hand_made_row() -> dict[str, Any]:
    mean = float(np.mean(list(HAND_MADE.values())))
    return {
        "method": "hand-made features (HOG + histograms)",
        "coefficients": "-",
        "uses_data": False,
        "default": False,
        "seeds": [],
        "note": "figures as listed in DATASETS.md, without intervals",
        "mean_balanced_accuracy": {"value": mean, "interval": None},
        "mean_normalised_balanced_accuracy": None,
        "minus_linear_probes": None,
        "seed_deviation": None,
        "sets": {n: {"balanced_accuracy": {"value": v}} for n, v in HAND_MADE.items()},
    }


def main() -> None:
    """Parse, train what is missing, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    train_all(jobs_for(arguments.seeds, arguments.image_size), arguments.workers)
    run(arguments.image_size, arguments.seeds)


if __name__ == "__main__":
    main()
