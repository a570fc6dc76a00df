"""What a stem of unadapted blocks costs the specialists: fifteen sets, two bases, validation.

    python -m benchmarks.stem --bases deit dino --stems 0 1 3 6 9 --seeds 0
    python -m benchmarks.stem --table

Stems are trained on the same augmented views, and the rank makes up for the blocks that a stem
leaves out. At most 500 images a set train. The others of its train split are held out: they choose
no epoch, and are scored beside the val split, which alone chooses. The test split is never read.
Each training's logits go to a file of the cache as it ends, and what has one is not trained again.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import common, stem_tables
from benchmarks.common import CACHE, file_digest, key, write_result
from benchmarks.fifteen import BASES, FIFTEEN, SIZE, base_of, data_file, split_of
from benchmarks.scoring import BOOTSTRAP_SEED, summary
from medlego.base import Base, Inputs
from medlego.bricks import Brick
from medlego.data import Dataset, join
from medlego.generalist import specialist
from medlego.metrics import Replicates, Sample, score_replicates
from medlego.metrics.bootstrap import patient_numbers
from medlego.prediction import Backbone, features_of
from medlego.train import TrainSettings, train_brick

STAGES = ((0, 6), (3,), (1,), (9,))
"""Stems in the order in which they tell most."""
DEPTH, RANK = 12, 4
IMAGES, EPOCHS, VIEWS = 500, 12, 4
NO_MEAN = ("kidney_ct",)
"""Sets that means leave out: of one to seven scan series a class."""


@dataclass(frozen=True)
class Job:
    """One training."""

    base: str
    set: str
    stem: int
    seed: int

    @property
    def settings(self) -> TrainSettings:
        """Every stem's brick holds about the same count of numbers."""
        return TrainSettings(
            stem=self.stem,
            rank=round(DEPTH * RANK / (DEPTH - self.stem)),
            views=VIEWS,
            epochs=EPOCHS,
            seed=self.seed,
            profile=False,
            calibrate=False,
        )

    @property
    def path(self) -> Path:
        """Where its logits lie; the name says what decided them."""
        files = [BASES[self.base][1], data_file(self.set)]
        decided = key(
            [file_digest(file) for file in files], SIZE, IMAGES, self.settings.of_training()
        )
        name = f"{self.base}-{self.set}-stem{self.stem}-seed{self.seed}-{decided}.npz"
        return CACHE / "stem" / name


def jobs(bases: list[str], stems: list[int], seeds: list[int]) -> list[Job]:
    """All trainings, in an order that gives usable tables early."""
    stages = [[stem for stem in stage if stem in stems] for stage in STAGES]
    return [
        Job(base, name, stem, seed)
        for seed in seeds
        for base in bases
        for stage in stages
        for name in FIFTEEN
        for stem in stage
    ]


@cache
def parts(name: str) -> Dataset:
    """A set whose train split has at most `IMAGES`, the others standing in the test split's place.

    They are drawn once for all seeds, so that all models answer the same images.
    """
    data = common.dataset(name)
    train, val = (split_of(name, split) for split in ("train", "val"))
    taken = draw(train.labels, train.patients, IMAGES)
    held_out = train.take(np.flatnonzero(~taken))
    return replace(data, train=train.take(np.flatnonzero(taken)), val=val, test=held_out)


def draw(labels: np.ndarray, ids: np.ndarray | None, most: int) -> np.ndarray:
    """A mask (N,) of at most `most` images, each label with its share, ids kept together."""
    if len(labels) <= most:
        return np.ones(len(labels), dtype=bool)
    known = np.eye(labels.max() + 1)[labels] if labels.ndim == 1 else np.ones((len(labels), 1))
    numbers, left = patient_numbers(len(labels), ids), most * known.mean(axis=0)
    taken = np.zeros(len(labels), dtype=bool)
    for number in np.random.default_rng(0).permutation(numbers.max() + 1):
        own = numbers == number
        if (known[own].sum(axis=0) <= left).all():
            left -= known[own].sum(axis=0)
            taken |= own
    return taken


def train(job: Job) -> None:
    """Train one brick; keep what its best and its last epoch say of val and of what is held out."""
    base, data = base_of(job.base), parts(job.set)
    last: list[Brick] = []
    began, processor = time.monotonic(), time.process_time()
    best = train_brick(
        base,
        data,
        job.settings,
        device="cpu",
        callbacks=[lambda e: last.append(e.brick()) if e.number == e.epochs else None],
    )
    seconds = {"seconds": time.monotonic() - began, "cpu": time.process_time() - processor}
    inputs = Inputs(join([data.val, data.test]).images, base)
    found = {"best": _logits(base, best, inputs), "last": _logits(base, last[0], inputs)}
    job.path.parent.mkdir(parents=True, exist_ok=True)
    scratch = job.path.with_suffix(f".{os.getpid()}.tmp")
    with scratch.open("wb") as stream:
        epoch = int(best.settings["best_epoch"])
        np.savez(stream, **found, **seconds, best_epoch=epoch, commit=common.commit())  # type: ignore[arg-type]
    scratch.replace(job.path)


def _logits(base: Base, brick: Brick, inputs: Inputs) -> np.ndarray:
    pooled = features_of(Backbone.of(specialist(brick), base).features, inputs)
    logits: np.ndarray = brick.head.logits(pooled).numpy()
    return logits


def replicates(job: Job, which: str, *, only_val: bool = False) -> Replicates:
    """Balanced accuracy (of several labels at once macro AUROC) of an epoch, and draws of it."""
    data = parts(job.set)
    answered = data.val if only_val else join([data.val, data.test])
    with np.load(job.path) as found:
        logits = torch.from_numpy(found[which][: len(answered)])
    probs = data.task.rules.probabilities(logits).double().numpy()
    sample = Sample(data.task, probs, answered.labels, answered.patients)
    score = "balanced_accuracy" if data.task.rules.exclusive else "auroc"
    seed = BOOTSTRAP_SEED + list(FIFTEEN).index(job.set)
    values = score_replicates(sample, [score], seed=seed)[score].values
    return Replicates(values, values, values)  # the draws alone, as in all committed tables


VIEWPOINTS = {
    "best, val and held out": ("best", False),
    "best, val": ("best", True),
    "last, val and held out": ("last", False),
    "last, val": ("last", True),
}
"""Which epoch's brick answers which images."""


@dataclass(frozen=True)
class Scored:
    """One training, or the mean of several: processor seconds, and scores per viewpoint."""

    cpu: float
    scores: dict[str, Replicates]

    @classmethod
    def of(cls, job: Job) -> Scored:
        """From its file."""
        scores = {
            view: replicates(job, which, only_val=only_val)
            for view, (which, only_val) in VIEWPOINTS.items()
        }
        with np.load(job.path) as found:
            return cls(float(found["cpu"]), scores)

    @classmethod
    def mean(cls, parts: list[Scored]) -> Scored:
        """Draw by draw."""
        scores = {v: Replicates.mean([part.scores[v] for part in parts]) for v in VIEWPOINTS}
        return cls(sum(part.cpu for part in parts) / len(parts), scores)


def rows(base: str, stems: list[int], seeds: list[int]) -> list[dict[str, Any]]:
    """Of each set that is trained with all stems, and of their mean."""

    def scored(name: str) -> list[Scored] | None:
        each = [[Job(base, name, stem, seed) for seed in seeds] for stem in stems]
        if not all(job.path.exists() for own in each for job in own):
            return None
        return [Scored.mean([Scored.of(job) for job in own]) for own in each]

    of_sets = {name: own for name in FIFTEEN if (own := scored(name))}
    found: list[dict[str, Any]] = []
    for name, own in of_sets.items():
        data = parts(name)
        counts = {"train": len(data.train), "val": len(data.val), "held_out": len(data.test)}
        found.append({"base": base, "set": name, **counts, "stems": _of_stems(stems, own)})
    if counted := [name for name in of_sets if name not in NO_MEAN]:
        columns = zip(*(of_sets[name] for name in counted), strict=True)
        means = [Scored.mean(list(column)) for column in columns]
        found.append({"base": base, "set": "mean", "of": counted, "stems": _of_stems(stems, means)})
    return found


def _of_stems(stems: list[int], each: list[Scored]) -> list[dict[str, Any]]:
    return [
        {
            "stem": stem,
            "cpu_seconds": round(own.cpu, 1),
            **{
                view: {
                    "score": summary(own.scores[view]),
                    "minus_first": summary(own.scores[view] - each[0].scores[view]),
                }
                for view in VIEWPOINTS
            },
        }
        for stem, own in zip(stems, each, strict=True)
    ]


def _commit(job: Job) -> str:
    with np.load(job.path) as found:
        return str(found["commit"])


def main() -> None:
    """Train what lacks, or write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", nargs="+", choices=BASES, default=list(BASES))
    stems = sorted(stem for stage in STAGES for stem in stage)
    parser.add_argument("--stems", type=int, nargs="+", choices=stems, default=stems)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sets", nargs="+", choices=FIFTEEN, default=list(FIFTEEN))
    parser.add_argument("--table", action="store_true", help="write results/stem.json, print it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    planned = jobs(options.bases, options.stems, options.seeds)
    if options.table:
        found = [row for b in options.bases for row in rows(b, options.stems, options.seeds)]
        files = [BASES[base][1] for base in options.bases] + [data_file(n) for n in FIFTEEN]
        trained = {_commit(job) for job in planned if job.path.exists()}
        write_result("stem", found, seeds=options.seeds, data=files, trained_at=sorted(trained))
        print(stem_tables.stem({"rows": found}))
        return
    every = [job for job in planned if job.set in options.sets]
    for number, job in enumerate(every, start=1):
        if not job.path.exists():
            began = time.monotonic()
            train(job)
            score = float(replicates(job, "best").values[0])
            print(
                f"{number} of {len(every)}: {job.base} {job.set} stem {job.stem} seed {job.seed}: "
                f"{score:.3f} in {time.monotonic() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
