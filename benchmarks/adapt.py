"""Is a generalist the better start for a new task?

    python -m benchmarks.adapt [--seeds 0 1 2] [--few 5 10 50] [--workers 2] [--device cuda]

Each of the five sets is the new task in turn, the generalist assembled from plain bricks of the
other four. Every start trains on all images, and on few a class (then validation has as few). The
best epoch is the validation's. With all images the test split is read after every epoch, for the
curves alone.

Runs are kept in `results/runs/`, a file a kind of device, and only missing ones are trained. Where
both kinds trained a run, the result says how far they lie apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from benchmarks.adapt_pictures import continued, plot_epochs, plot_images
from benchmarks.bricks import get_brick, train_all
from benchmarks.common import RESULTS, SETS, base, dataset, device_name, write_result
from benchmarks.scoring import BOOTSTRAP_SEED, facts, inputs, summary
from medlego.adaptation import CHOICES, foundation
from medlego.adapters import on_device
from medlego.base import features
from medlego.brick import Brick
from medlego.files import write_atomically
from medlego.generalist import Generalist, assemble, specialist
from medlego.metrics import RESAMPLES, score_replicates, wrong_answers
from medlego.samples import Dataset, Samples
from medlego.train import TrainSettings, train_brick

SIZE = 112
TARGET = 0.95
"""Share of the control's final score that counts as reached."""
FEW = (5, 10, 50)
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, order=True)
class Job:
    """One training run; `few` images a class, or all (0); so many epochs, or as by default (0)."""

    seed: int
    few: int
    new: str
    start: str
    epochs: int = 0

    @property
    def name(self) -> str:
        """Its key in the file of runs."""
        budget = f" epochs {self.epochs}" if self.epochs else ""
        return f"{self.new} {self.start} seed {self.seed} few {self.few}{budget}"


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

    def watch(_scores: Sequence[float], make: Callable[[], Brick]) -> None:
        curve.append(balanced(right(make(), job.new, device), data.test.labels))
        print(f"  {job.name}: epoch {len(curve)}, test {curve[-1]:.3f}", flush=True)

    began = time.monotonic()
    first = job.start != "plain"
    brick = train_brick(
        base(SIZE),
        data,
        TrainSettings.build(
            seed=job.seed,
            head_first=first,
            epochs=job.epochs or None,
            profile=False,
            calibrate=False,
        ),
        foundation=foundation(generalist(job.new, job.seed), job.start),  # type: ignore[arg-type]
        device=device,
        watch=None if job.few or job.epochs else watch,
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
    found = brick.head.logits(torch.cat(pooled)).argmax(dim=1).numpy()
    hits: np.ndarray = found == dataset(name).test.labels
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
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


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


def replicates(run: dict[str, Any]) -> np.ndarray:
    """Test balanced accuracy at the best epoch, and on bootstrap replicates: (1 + resamples,)."""
    task, labels = dataset(run["new"]).task, dataset(run["new"]).test.labels
    hits = np.array([hit == "1" for hit in run["hits"]])
    sure = np.eye(len(task.labels))[labels]
    probs = np.where(hits[:, None], sure, wrong_answers(task, labels))
    found = score_replicates(task, probs, labels, resamples=RESAMPLES, seed=BOOTSTRAP_SEED)
    return found["balanced_accuracy"]


def epochs_to(target: float, curve: Sequence[float]) -> int | None:
    """The first epoch whose test score reaches a target; 0 is the fitted head alone."""
    return next((number for number, score in enumerate(curve) if score >= target), None)


def rows(
    runs: dict[str, dict[str, Any]], seeds: Sequence[int], few: Sequence[int]
) -> list[dict[str, Any]]:
    """A row per new task, number of images and start; seeds are averaged."""
    found = []
    for count in (0, *few):
        for new in SETS:
            control = [runs[Job(seed, count, new, "plain").name] for seed in seeds]
            tried = [
                [runs[Job(seed, count, new, start).name] for seed in seeds] for start in CHOICES
            ]
            found += [_row(held, control) for held in tried]
            found.append(_chosen(tried, control))
    return found


def _row(tried: Sequence[dict[str, Any]], control: Sequence[dict[str, Any]]) -> dict[str, Any]:
    each = [replicates(run) for run in tried]
    own = np.mean(each, axis=0)
    plain = np.mean([replicates(run) for run in control], axis=0)
    found = {
        "new": tried[0]["new"],
        "few": tried[0]["few"],
        "start": tried[0]["start"],
        "images": tried[0]["images"],
        "epochs": tried[0]["epochs"],
        "balanced_accuracy": summary(own),
        "per_seed": [round(float(values[0]), 4) for values in each],
        "minus_plain": summary(own - plain),
        "rank": tried[0]["rank"],
    }
    if tried[0]["few"]:
        return found
    targets = [TARGET * curve_of(run)[run["best_epoch"]] for run in control]
    curves = [curve_of(run) for run in tried]
    longest = max(len(curve) for curve in curves)
    mean = np.mean([continued(curve, longest) for curve in curves], axis=0)
    return found | {
        "epochs_to_target": [epochs_to(t, c) for t, c in zip(targets, curves, strict=True)],
        "epochs_to_target_of_mean": epochs_to(float(np.mean(targets)), mean.tolist()),
    }


def curve_of(run: dict[str, Any]) -> list[float]:
    """Test scores from epoch 0 on, NaN where there is none."""
    return [float("nan")] * run["first_epoch"] + run["curve"]


def _chosen(
    tried: Sequence[Sequence[dict[str, Any]]], control: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What `adapt` returns: of each seed the start that is best on validation."""
    best = [max(held, key=lambda run: run["validation"]) for held in zip(*tried, strict=True)]
    row = _row(best, control)
    return row | {"start": "chosen on validation", "chosen": [run["start"] for run in best]}


def trained_with(runs: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Every device and set of versions that runs were made with."""
    each = {json.dumps(run["made_with"], sort_keys=True) for run in runs}
    return [json.loads(text) for text in sorted(each)]


def beside_the_other(runs: dict[str, dict[str, Any]], device: str) -> dict[str, Any]:
    """Test scores of the runs that the other kind of device trained too, beside those here."""
    (other,) = (name for name in DEVICES if name != device)
    theirs = read_runs(other)
    both = sorted(runs.keys() & theirs.keys())
    apart = [float(replicates(runs[name])[0] - replicates(theirs[name])[0]) for name in both]
    found: dict[str, Any] = {"device": other, "runs": len(both)}
    if apart:
        found["mean_difference"] = round(float(np.mean(apart)), 4)
        found["mean_absolute_difference"] = round(float(np.mean(np.abs(apart))), 4)
    return found


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--few", type=int, nargs="*", default=list(FEW))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    given = parser.parse_args()
    bricks = [(name, "svd", seed, SIZE) for seed in given.seeds for name in SETS]
    train_all(bricks, given.workers)
    jobs = [
        Job(seed, few, new, start)
        for few in (0, *given.few)
        for seed in given.seeds
        for new in SETS
        for start in CHOICES
    ]
    train_missing(jobs, given.workers, given.device)
    runs = read_runs(given.device)
    table = rows(runs, given.seeds, given.few)
    curves = {
        new: {
            start: [curve_of(runs[Job(seed, 0, new, start).name]) for seed in given.seeds]
            for start in CHOICES
        }
        for new in SETS
    }
    plot_epochs(curves, RESULTS / f"adapt-epochs-{SIZE}px.png")
    plot_images(table, RESULTS / f"adapt-images-{SIZE}px.png")
    write_result(
        f"adapt-{SIZE}px",
        table,
        seeds=given.seeds,
        **facts(SIZE),
        setting={"target": TARGET},
        trained_with=trained_with([runs[job.name] for job in jobs]),
        other_device=beside_the_other(runs, given.device),
    )


if __name__ == "__main__":
    main()
