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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.bricks import JOINT_RANK, get_brick, jobs_for, train_all
from benchmarks.common import BASE_FILE, CACHE, SETS, SHARED, base, dataset, key, write_result
from medlego.brick import Brick, probabilities
from medlego.evaluation import normalised_balanced_accuracy
from medlego.generalist import Generalist, assemble, bare_base, specialist
from medlego.loading import Inputs
from medlego.metrics import RESAMPLES, interval, point_scores, score_replicates
from medlego.prediction import Predictor
from medlego.probes import fit_probe

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
BOOTSTRAP_SEED = 2026

HAND_MADE = {
    "btc_mri": 0.86,
    "busi_us": 0.65,
    "covid_cxr": 0.81,
    "ham_derm": 0.38,
    "wbc_zheng": 0.75,
}
"""Balanced accuracy of HOG and histograms, the better of two models: shared/data/DATASETS.md."""

Replicates = Mapping[str, Mapping[str, np.ndarray]]
"""Per set and score, (1 + resamples,)."""


@dataclass(frozen=True)
class Contender:
    """One line of the table: how to get its probabilities for a seed, set and split."""

    method: str
    coefficients: str
    uses_data: bool
    probs: Callable[[int, str, str], np.ndarray]
    seeds: tuple[int, ...]
    default: bool = False
    note: str = ""


@cache
def inputs(name: str, split: str, image_size: int) -> Inputs:
    """One split's inputs, decoded once."""
    return Inputs(dataset(name).split(split).images, base(image_size))


class Job:
    """All contenders at one input size; features are computed once and kept on disk."""

    def __init__(self, image_size: int, seeds: list[int]) -> None:
        self.image_size, self.seeds = image_size, tuple(seeds)

    def features(self, generalist: Generalist, label: str, name: str, split: str) -> torch.Tensor:
        """Pooled features of a split, from the cache where they were computed before."""
        decided = key(
            generalist.recipe.digest, len(generalist.deltas), self.image_size, name, split
        )
        path = CACHE / "features" / f"{label}-{name}-{split}-{decided}.npy"
        if path.exists():
            return torch.from_numpy(np.load(path))
        print(f"  features: {label}, {name}, {split}", flush=True)
        predictor = Predictor(generalist, base(self.image_size))
        found = predictor.all_features(inputs(name, split, self.image_size))
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp.npy")
        np.save(scratch, found.numpy())
        scratch.replace(path)
        return found

    def bricks(self, seed: int, variant: str = "svd") -> dict[str, Brick]:
        """The five bricks of a seed."""
        return {name: get_brick(name, variant, seed, self.image_size) for name in SETS}

    def specialist(self, variant: str) -> Callable[[int, str, str], np.ndarray]:
        """Each set with its own brick."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            brick = self.bricks(seed, variant)[name]
            return _read(brick, self.features(specialist(brick), variant, name, split))

        return probs

    def bare(self, seed: int, name: str, split: str) -> np.ndarray:
        """The specialist's head on the untouched base."""
        brick = self.bricks(seed)[name]
        return _read(brick, self.frozen(name, split))

    def frozen(self, name: str, split: str) -> torch.Tensor:
        """Features of the untouched base; the same whichever brick is taken off."""
        brick = get_brick(next(iter(SETS)), "svd", self.seeds[0], self.image_size)
        return self.features(bare_base(brick), "frozen", name, split)

    def probe(self, _seed: int, name: str, split: str) -> np.ndarray:
        """A linear probe, its strength chosen on val."""
        data = dataset(name)
        pairs = [(self.frozen(name, s).numpy(), data.split(s).labels) for s in ("train", "val")]
        return fit_probe(data.task, *pairs).probs(self.frozen(name, split).numpy())

    def merge(self, method: str, coefficients: Any) -> Callable[[int, str, str], np.ndarray]:
        """A generalist with given coefficients."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            bricks = self.bricks(seed)
            merged = assemble(list(bricks.values()), method, coefficients=coefficients)
            label = f"{method}-{merged.recipe.bricks[0].coefficient:.3f}"
            return _read(bricks[name], self.features(merged, label, name, split))

        return probs

    def searched(self, method: str) -> Callable[[int, str, str], np.ndarray]:
        """A generalist whose λ is the best on the validation splits."""

        def probs(seed: int, name: str, split: str) -> np.ndarray:
            return self.merge(method, self.best_lambda(method, seed))(seed, name, split)

        return probs

    @cache  # noqa: B019
    def best_lambda(self, method: str, seed: int) -> float:
        """The λ with the best mean normalised balanced accuracy on val."""
        alone = self.specialist("svd")

        def balanced(probs: Callable[[int, str, str], np.ndarray], name: str) -> float:
            task, labels = dataset(name).task, dataset(name).val.labels
            return point_scores(task, probs(seed, name, "val"), labels)["balanced_accuracy"]

        whole = {name: balanced(alone, name) for name in SETS}
        found = {
            value: np.mean([balanced(self.merge(method, value), n) / whole[n] for n in SETS])
            for value in LAMBDAS
        }
        best = max(found, key=lambda value: found[value])
        print(f"  {method}, seed {seed}: λ = {best} on validation ({found[best]:.3f})", flush=True)
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
            auto = self.merge(method, "auto")
            mean = self.merge(method, 1 / len(SETS))
            lines += [
                Contender(method, "auto (1/√K)", False, auto, every, method == "linear"),
                Contender(method, "1/K", False, mean, every),
                Contender(method, "best λ on val", True, self.searched(method), every),
            ]
        note = f"rank {JOINT_RANK}; all images in one place, what medlego exists to avoid"
        joint = self.specialist("joint")
        return [*lines, Contender("joint training (ceiling)", "-", True, joint, first, note=note)]

    def replicates(self, contender: Contender, name: str, seed: int) -> dict[str, np.ndarray]:
        """Test scores of one line, set and seed."""
        samples = dataset(name).test
        return score_replicates(
            dataset(name).task,
            contender.probs(seed, name, "test"),
            samples.labels,
            resamples=RESAMPLES,
            seed=BOOTSTRAP_SEED + list(SETS).index(name),
        )


def run(image_size: int, seeds: list[int]) -> None:
    """Evaluate every line and write the result."""
    job = Job(image_size, seeds)
    lines = job.contenders()
    drawn = {
        id(line): {
            seed: {name: job.replicates(line, name, seed) for name in SETS} for seed in line.seeds
        }
        for line in lines
    }
    by_name = {line.method: drawn[id(line)] for line in lines}
    alone, probes = by_name["SVD-LoRA specialists"], by_name[lines[0].method][seeds[0]]
    rows = [_hand_made_row()]
    rows += [_row(line, drawn[id(line)], alone, probes) for line in lines]
    for line, row in zip(lines, rows[1:], strict=True):
        if line.coefficients == "best λ on val":
            row["lambda"] = {str(seed): job.best_lambda(line.method, seed) for seed in line.seeds}
    files = [SHARED / "data" / f"{name}.npz" for name in SETS]
    path = write_result(
        f"main_job-{image_size}px",
        rows,
        seeds=seeds,
        data=[BASE_FILE, *files],
        base=base(image_size).ref.model_dump(mode="json"),
        bootstrap={"resamples": RESAMPLES, "seed": BOOTSTRAP_SEED, "level": 0.95},
        bricks={
            f"{name} seed {seed}": get_brick(name, "svd", seed, image_size).digest
            for seed in seeds
            for name in SETS
        },
    )
    print(f"wrote {path}; python -m benchmarks.tables makes the page")


def _row(
    line: Contender,
    drawn: Mapping[int, Replicates],
    alone: Mapping[int, Replicates],
    probes: Replicates,
) -> dict[str, Any]:
    balanced = {
        name: np.mean([drawn[s][name]["balanced_accuracy"] for s in line.seeds], axis=0)
        for name in SETS
    }
    mean = np.mean(list(balanced.values()), axis=0)
    normalised = np.mean(
        [normalised_balanced_accuracy(drawn[s], alone[s]) for s in line.seeds], axis=0
    )
    over_probes = mean - np.mean([probes[n]["balanced_accuracy"] for n in SETS], axis=0)
    per_seed = [
        float(np.mean([drawn[s][n]["balanced_accuracy"][0] for n in SETS])) for s in line.seeds
    ]
    return {
        "method": line.method,
        "coefficients": line.coefficients,
        "uses_data": line.uses_data,
        "default": line.default,
        "seeds": list(line.seeds),
        "note": line.note,
        "mean_balanced_accuracy": _summary(mean),
        "mean_normalised_balanced_accuracy": _summary(normalised),
        "minus_linear_probes": _summary(over_probes),
        "seed_deviation": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        "sets": {
            name: {
                score: _summary(np.mean([drawn[s][name][score] for s in line.seeds], axis=0))
                for score in ("accuracy", "balanced_accuracy", "auroc")
            }
            for name in SETS
        },
    }


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


def _summary(replicates: np.ndarray) -> dict[str, Any]:
    found = interval(replicates)
    return {
        "value": round(found.value, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
    }


def _read(brick: Brick, pooled: torch.Tensor) -> np.ndarray:
    found: np.ndarray = probabilities(brick.task, brick.head.logits(pooled)).double().numpy()
    return found


def main() -> None:
    """Parse, train what is missing, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    train_all(jobs_for(given.seeds, given.image_size), given.workers)
    run(given.image_size, given.seeds)


if __name__ == "__main__":
    main()
