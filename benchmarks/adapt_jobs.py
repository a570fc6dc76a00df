"""The runs of `benchmarks.adapt` and `benchmarks.adapt_budgets`: trained once, kept, read again.

They are kept in `results/runs/`, a file a kind of device.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from benchmarks.bricks import get_brick
from benchmarks.common import RESULTS, SETS, base, dataset, device_name
from benchmarks.scoring import inputs
from medlego.base import features
from medlego.bricks import Brick, on_device
from medlego.data import Dataset, Samples
from medlego.generalist import Generalist, assemble, specialist
from medlego.support import write_atomically
from medlego.train import Epoch, TrainSettings, train_brick
from medlego.train.adapt import foundation

SIZE = 112
DEVICES = ("cpu", "cuda")

Run = Mapping[str, Any]
"""What `train` says of one run."""


@dataclass(frozen=True, order=True)
class Job:
    """One training run; `few` images a class, or all (0); so many epochs, or as by default (0).

    `again` is another training on the same images, from another seed.
    """

    seed: int
    few: int
    new: str
    start: str
    epochs: int = 0
    again: int = 0

    @property
    def name(self) -> str:
        """Its key in the file of runs."""
        more = f" epochs {self.epochs}" if self.epochs else ""
        more += f" again {self.again}" if self.again else ""
        return f"{self.new} {self.start} seed {self.seed} few {self.few}{more}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Flags of what trains these runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    return parser


@cache
def generalist(new: str, seed: int) -> Generalist:
    """Assembled by default from the plain bricks of the other four sets."""
    return assemble([get_brick(name, "svd", seed, SIZE) for name in SETS if name != new])


def limited(data: Dataset, few: int, seed: int) -> Dataset:
    """As many training and validation images of each class, drawn by the seed."""
    if not few:
        return data
    rng = np.random.default_rng((seed, few))
    parts = {split: _some(data.split(split), few, rng) for split in ("train", "val")}
    return Dataset.of(data.task, parts | {"test": data.test}, data.notes)


def _some(samples: Samples, few: int, rng: np.random.Generator) -> Samples:
    chosen = [
        rng.permutation(np.flatnonzero(samples.labels == label))[:few]
        for label in np.unique(samples.labels)
    ]
    return samples.take(np.sort(np.concatenate(chosen)))


def train(job: Job, device: str) -> dict[str, Any]:
    """Train one run; with all images, a test score after each epoch."""
    data = limited(dataset(job.new), job.few, job.seed)
    curve: list[float] = []

    def watch(epoch: Epoch) -> None:
        curve.append(balanced(right(epoch.brick(), job.new, device), data.test.labels))
        print(f"  {job.name}: epoch {len(curve)}, test {curve[-1]:.3f}", flush=True)

    began = time.monotonic()
    first = job.start != "plain"
    brick = train_brick(
        base(SIZE),
        data,
        TrainSettings.build(
            seed=job.seed + 100 * job.again,
            head_first=first,
            epochs=job.epochs or None,
            profile=False,
            calibrate=False,
        ),
        foundation=foundation(generalist(job.new, job.seed), job.start),  # type: ignore[arg-type]
        device=device,
        callbacks=[] if job.few or job.epochs or job.again else [watch],
    )
    return {
        **asdict(job),
        "images": len(data.train),
        "epochs": brick.settings["epochs"],
        "best_epoch": brick.settings["best_epoch"],
        "validation": round(brick.card.scores["balanced_accuracy"], 4),
        "curve": [round(score, 4) for score in curve],
        "first_epoch": 0 if first else 1,
        "hits": "".join(str(int(hit)) for hit in right(brick, job.new, device)),
        "rank": max(delta.rank for delta in brick.deltas.values()),
        "digest": brick.digest,
        "seconds": round(time.monotonic() - began),
        "made_with": {**brick.card.made_with, "device": device_name(device)},
    }


@torch.no_grad()
def right(brick: Brick, name: str, device: str) -> np.ndarray:
    """Which test images a brick on the plain base labels rightly, (N,)."""
    module = on_device(specialist(brick).fold(base(SIZE)), device)
    pooled = [
        features(module, base(SIZE).normalise(batch.to(device))).cpu()
        for batch in inputs(name, "test", SIZE).batches(64)
    ]
    predictions = brick.head.logits(torch.cat(pooled)).argmax(dim=1).numpy()
    hits: np.ndarray = predictions == dataset(name).test.labels
    return hits


def balanced(hits: np.ndarray, labels: np.ndarray) -> float:
    """Balanced accuracy from hits."""
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


def runs_file(device: str) -> Path:
    """Where the runs of a kind of device are kept."""
    return RESULTS / "runs" / f"adapt-{SIZE}px-{device}.json"


def read_runs(device: str) -> dict[str, dict[str, Any]]:
    """Every run that was kept."""
    path = runs_file(device)
    runs: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return runs


def read_all_runs(device: str) -> dict[str, Run]:
    """Every run that was kept: of this kind of device, or where it has none, of another."""
    others = [read_runs(other) for other in DEVICES if other != device]
    return {name: run for runs in (*others, read_runs(device)) for name, run in runs.items()}


def keep(job: Job, run: dict[str, Any], device: str) -> None:
    """Add one run to the file."""
    path = runs_file(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        runs = read_runs(device) | {job.name: run}
        lines = (f"{json.dumps(name)}: {json.dumps(runs[name])}" for name in sorted(runs))
        write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def train_missing(jobs: Sequence[Job], workers: int, device: str) -> None:
    """`workers` at a time, each a process of one thread; a kept run is not trained again."""
    missing = [job for job in jobs if job.name not in read_runs(device)]
    print(f"{len(jobs) - len(missing)} runs kept, {len(missing)} to train", flush=True)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        for done in as_completed([pool.submit(_train_and_keep, job, device) for job in missing]):
            print(f"done: {done.result()}", flush=True)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _train_and_keep(job: Job, device: str) -> str:
    keep(job, run := train(job, device), device)
    return f"{job.name} in {run['seconds']} s"


def trained_with(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Every device and set of versions that runs were made with, as far as they say."""
    each = {json.dumps(run["made_with"], sort_keys=True) for run in runs if "made_with" in run}
    return [json.loads(text) for text in sorted(each)]
