"""Is the embedded mini base worth having? Linear probes on it and on the same network at random.

    python -m benchmarks.mini_base

Probes are fitted on train, their strength chosen on val, scored on test; the difference is paired
on the same bootstrap draws. The mini base saw the train splits of BUSI and BTC, without labels.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.common import BASE_FILE, SETS, SHARED, base, dataset, write_result
from benchmarks.scoring import summary
from medlego.base import Base, Inputs, features
from medlego.base.mini import build_mini, mini_card, mini_weights
from medlego.evaluation.probes import fit_probe
from medlego.metrics import Replicates, Sample, score_replicates

RANDOM_SEEDS = (0, 1, 2)
BATCH = 64


def random_mini(seed: int) -> Base:
    """The mini base's network as timm initialises it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_mini()
    return Base.of(f"random {seed}", module, mini_card())


def probe_replicates(frozen: Base, name: str) -> Replicates:
    """Balanced accuracy of a probe on the test split, point value and replicates."""
    data = dataset(name)
    pooled = {}
    for split in ("train", "val", "test"):
        inputs = Inputs(data.split(split).images, frozen)
        with torch.no_grad():
            batches = [features(frozen.module, frozen.normalise(b)) for b in inputs.batches(BATCH)]
        pooled[split] = torch.cat(batches).numpy()
    pairs = [(pooled[s], data.split(s).labels) for s in ("train", "val")]
    probs = fit_probe(data.task, *pairs).probs(pooled["test"])
    return score_replicates(Sample(data.task, probs, data.test.labels))["balanced_accuracy"]


def main() -> None:
    """Measure and write."""
    mini = Base.load("mini")
    rows: list[dict[str, Any]] = []
    for name in SETS:
        ours = probe_replicates(mini, name)
        chance = [probe_replicates(random_mini(seed), name) for seed in RANDOM_SEEDS]
        mean_chance = Replicates.mean(chance)
        rows.append(
            {
                "set": name,
                "seen_without_labels": name in ("busi_us", "btc_mri"),
                "mini_64px": summary(ours),
                "random_64px": summary(mean_chance),
                "mini_minus_random": summary(ours - mean_chance),
                "deit_tiny_112px": summary(probe_replicates(base(112), name)),
            }
        )
        print(rows[-1], flush=True)
    files = [SHARED / "data" / f"{name}.npz" for name in SETS]
    path = write_result(
        "mini_base", rows, seeds=list(RANDOM_SEEDS), data=[mini_weights(), BASE_FILE, *files]
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
