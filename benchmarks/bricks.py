"""The bricks that benchmarks share, trained once and kept in a cache outside the repository.

    python -m benchmarks.bricks --seeds 0 1 2 --workers 2

Each run trains on one thread, which is deterministic and, with one worker a core, the fastest
on a CPU. A killed run goes on where its last epoch ended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import BASE_FILE, CACHE, SETS, SHARED, base, dataset, file_digest, key
from benchmarks.joint import train_joint
from medlego.brick import Brick
from medlego.brickfile import load_brick, save_brick
from medlego.train import TrainSettings, train_brick

JOINT_RANK = 20
VARIANTS: dict[str, dict[str, Any]] = {
    "svd": {},
    "lora": {"parametrisation": "lora"},
    "joint": {"rank": JOINT_RANK, "epochs": 17},
    "aware": {"merge_aware": True},
}
"""Settings of each kind of brick beyond the defaults. `svd` is the plainly trained specialist, the
divisor of every normalised score. `aware` goes on from it among the four others' plain bricks of
the same seed. Joint training takes as many steps as the five specialists together."""


def brick_path(name: str, variant: str, seed: int, image_size: int) -> Path:
    """Where the brick of one set lies; its name says what decided it."""
    settings = TrainSettings.build(seed=seed, **VARIANTS[variant])
    sets = SETS if variant == "joint" else (name,)
    data = [file_digest(SHARED / "data" / f"{s}.npz") for s in sets]
    known = [file_digest(BASE_FILE), image_size, data, _deciding(settings)]
    if variant == "aware":
        known.append([brick_path(n, "svd", seed, image_size).name for n in SETS])
    decided = key(*known)
    folder = CACHE / "bricks" / f"{image_size}px"
    return folder / f"{name}-{variant}-seed{seed}-{decided}.brick.safetensors"


def _deciding(settings: TrainSettings) -> dict[str, Any]:
    """The settings that a brick depends on, in the form in which the first bricks were kept."""
    found = settings.of_training()
    if not found["merge_aware"]:
        del found["merge_aware"]
    return found


def get_brick(name: str, variant: str, seed: int, image_size: int) -> Brick:
    """A trained brick from the cache.

    Raises:
        BrickError: not there yet; `python -m benchmarks.bricks` trains it.
    """
    return load_brick(brick_path(name, variant, seed, image_size))


def train(name: str, variant: str, seed: int, image_size: int) -> None:
    """Train one brick (or all five heads of the joint model) into the cache."""
    path = brick_path(name, variant, seed, image_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings.build(seed=seed, **VARIANTS[variant])
    partial = path.with_name(path.name + ".partial")
    if variant != "joint":
        plain = {n: get_brick(n, "svd", seed, image_size) for n in SETS if variant == "aware"}
        start = plain.pop(name, None)
        brick = train_brick(
            base(image_size),
            dataset(name),
            settings,
            start=start,
            company=list(plain.values()),
            checkpoint=partial,
            device="cpu",
            show=_show,
        )
        save_brick(brick, path)
        return
    sets = {n: dataset(n) for n in SETS}
    for n, brick in train_joint(base(image_size), sets, settings, partial, _show).items():
        save_brick(brick, brick_path(n, variant, seed, image_size))
    partial.unlink(missing_ok=True)


def train_all(jobs: list[tuple[str, str, int, int]], workers: int) -> None:
    """Train what is missing, one process a job, `workers` at a time."""
    missing = [job for job in jobs if not brick_path(*job).exists()]
    print(f"{len(jobs) - len(missing)} bricks in the cache, {len(missing)} to train", flush=True)

    def one(job: tuple[str, str, int, int]) -> None:
        began = time.monotonic()
        words = [str(word) for word in job]
        command = [sys.executable, "-m", "benchmarks.bricks", "--one", *words]
        subprocess.run(command, check=True)
        print(f"trained {' '.join(words)} in {time.monotonic() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, missing))


def jobs_for(seeds: list[int], image_size: int) -> list[tuple[str, str, int, int]]:
    """SVD bricks of every seed; plain LoRA and the joint model, the longest job, of the first."""
    first, *others = seeds
    jobs = [(name, "svd", first, image_size) for name in SETS]
    jobs += [(next(iter(SETS)), "joint", first, image_size)]
    jobs += [(name, "svd", seed, image_size) for seed in others for name in SETS]
    jobs += [(name, "aware", seed, image_size) for seed in seeds for name in SETS]
    return jobs + [(name, "lora", first, image_size) for name in SETS]


def _show(what: str, done: int, total: int) -> None:
    if total and done % 200 == 0:
        print(f"  {what}: {done} of {total} steps", flush=True)


def main() -> None:
    """Parse and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", nargs=4, metavar=("SET", "VARIANT", "SEED", "SIZE"))
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        name, variant, seed, size = given.one
        train(name, variant, int(seed), int(size))
    else:
        train_all(jobs_for(given.seeds, given.image_size), given.workers)


if __name__ == "__main__":
    main()
