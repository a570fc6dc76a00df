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

from benchmarks import procedural, sites
from benchmarks.common import BASE_FILE, CACHE, SETS, SHARED, base, dataset, file_digest, key
from benchmarks.joint import train_joint
from medlego.bricks import Brick, load_brick, save_brick
from medlego.data import Dataset
from medlego.train import TrainSettings, refit_for_merge, train_brick
from medlego.train.head_fit import STRENGTHS
from medlego.train.refit import SUBSETS

JOINT_RANK = 20
VARIANTS: dict[str, dict[str, Any]] = {
    "svd": {},
    "lora": {"parametrisation": "lora"},
    "joint": {"rank": JOINT_RANK, "epochs": 17},
    "aware": {"merge_aware": True},
    "refit": {},
    "aware-refit": {"merge_aware": True},
    "stem1": {"stem": 1},
    "stem3": {"stem": 3, "rank": 5},
}
"""Settings of each kind of brick beyond the defaults. `svd` is the plainly trained specialist, the
divisor of every normalised score. Joint training takes as many steps as the five specialists
together. The stems' bricks hold no more numbers than `svd`: 22 · 4 and 18 · 5 of 24 · 4 ranks."""

ROUNDS = {"aware": "svd", "refit": "svd", "aware-refit": "aware"}
"""Kinds that go on from an earlier kind's brick, among the others of that kind and seed."""

REFITTED = ("refit", "aware-refit")
"""Kinds of which only the head is new."""

SHARED_OUT = ("ham_derm", "btc_mri")
"""Sets that are also trained on site by site."""


def brick_path(name: str, variant: str, seed: int, image_size: int) -> Path:
    """Where the brick of one set lies; its name says what decided it."""
    settings = settings_of(name, variant, seed)
    known = [file_digest(BASE_FILE), image_size, _data(name, variant), _deciding(settings)]
    if earlier := ROUNDS.get(variant):
        known.append([brick_path(n, earlier, seed, image_size).name for n in among(name)])
    if variant in REFITTED:
        known.append(["refit", SUBSETS, STRENGTHS])
    decided = key(*known)
    folder = CACHE / "bricks" / f"{image_size}px"
    return folder / f"{name}-{variant}-seed{seed}-{decided}.brick.safetensors"


def among(name: str) -> tuple[str, ...]:
    """Whose bricks a later round meets: the five sets', or those of the same task's sites."""
    return tuple(sites.site_names(sites.whole_name(name))) if sites.is_site(name) else tuple(SETS)


def settings_of(name: str, variant: str, seed: int) -> TrainSettings:
    """How a brick is trained; as it was before there were calibrations, see `calibration.py`."""
    more = {"epochs": procedural.EPOCHS} if procedural.is_procedural(name) else {}
    return TrainSettings.build(seed=seed, calibrate=False, **VARIANTS[variant], **more)


def data_of(name: str, seed: int) -> Dataset:
    """A real set, a site's part of one, or a procedural task."""
    if procedural.is_procedural(name):
        return procedural.dataset(name)
    return sites.part(name, seed) if sites.is_site(name) else dataset(name)


def _data(name: str, variant: str) -> list[Any]:
    """What the training images depend on besides the seed."""
    if procedural.is_procedural(name):
        return [name]
    sets = SETS if variant == "joint" else (sites.whole_name(name),)
    files: list[Any] = [file_digest(SHARED / "data" / f"{s}.npz") for s in sets]
    return [*files, [name, sites.COUNT, sites.SKEW, sites.LEAST]] if sites.is_site(name) else files


def _deciding(settings: TrainSettings) -> dict[str, Any]:
    """The settings that a brick depends on, in the form in which the first bricks were kept."""
    values = settings.of_training()
    if not values["merge_aware"]:
        del values["merge_aware"]
    else:
        values["quiet"] = 0.0
    return values


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
    settings = settings_of(name, variant, seed)
    partial = path.with_name(path.name + ".partial")
    if variant == "joint":
        sets = {n: dataset(n) for n in SETS}
        for n, brick in train_joint(base(image_size), sets, settings, partial, _show).items():
            save_brick(brick, brick_path(n, variant, seed, image_size))
        partial.unlink(missing_ok=True)
        return
    earlier = ROUNDS.get(variant)
    others = {n: get_brick(n, earlier, seed, image_size) for n in among(name) if earlier}
    start = others.pop(name, None)
    published, data, frozen = list(others.values()), data_of(name, seed), base(image_size)
    if variant in REFITTED:
        assert start is not None
        brick = refit_for_merge(start, data, published, seed=seed, base=frozen, show=_show)
    else:
        brick = train_brick(
            frozen,
            data,
            settings,
            start=start,
            others=published,
            checkpoint=partial,
            device="cpu",
            show=_show,
        )
    save_brick(brick, path)


def train_all(jobs: list[tuple[str, str, int, int]], workers: int) -> None:
    """Train what is missing, one process a job, `workers` at a time, earlier rounds first."""
    jobs = list(dict.fromkeys(earlier for job in jobs for earlier in _with_earlier(job)))
    missing = [job for job in jobs if not brick_path(*job).exists()]
    print(f"{len(jobs) - len(missing)} bricks in the cache, {len(missing)} to train", flush=True)

    def one(job: tuple[str, str, int, int]) -> None:
        began = time.monotonic()
        words = [str(word) for word in job]
        command = [sys.executable, "-m", "benchmarks.bricks", "--one", *words]
        subprocess.run(command, check=True)
        print(f"trained {' '.join(words)} in {time.monotonic() - began:.0f} s", flush=True)

    rounds = {job: _round(job[1]) for job in missing}
    with ThreadPoolExecutor(workers) as pool:
        for number in sorted(set(rounds.values())):
            list(pool.map(one, [job for job in missing if rounds[job] == number]))


def _with_earlier(job: tuple[str, str, int, int]) -> list[tuple[str, str, int, int]]:
    """A job and those that it goes on from."""
    name, variant, seed, size = job
    earlier = ROUNDS.get(variant)
    before = [] if earlier is None else [(n, earlier, seed, size) for n in among(name)]
    return [*(one for other in before for one in _with_earlier(other)), job]


def _round(variant: str) -> int:
    """How many kinds a kind goes on from."""
    earlier = ROUNDS.get(variant)
    return 0 if earlier is None else 1 + _round(earlier)


def jobs_for(seeds: list[int], image_size: int) -> list[tuple[str, str, int, int]]:
    """SVD bricks of every seed; plain LoRA and the joint model, the longest job, of the first."""
    first, *others = seeds
    jobs = [(name, "svd", first, image_size) for name in SETS]
    jobs += [(next(iter(SETS)), "joint", first, image_size)]
    jobs += [(name, "svd", seed, image_size) for seed in others for name in SETS]
    jobs += [(name, kind, seed, image_size) for kind in ROUNDS for seed in seeds for name in SETS]
    jobs += site_jobs(seeds, image_size)
    jobs += [(name, "svd", 0, image_size) for name in procedural.NAMES]
    return jobs + [(name, "lora", first, image_size) for name in SETS]


def site_jobs(seeds: list[int], image_size: int) -> list[tuple[str, str, int, int]]:
    """A plain brick per site of each set that is shared out, and its head refitted among them."""
    names = [site for name in SHARED_OUT for site in sites.site_names(name)]
    return [
        (n, kind, seed, image_size) for kind in ("svd", "refit") for seed in seeds for n in names
    ]


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
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        name, variant, seed, size = arguments.one
        train(name, variant, int(seed), int(size))
    else:
        train_all(jobs_for(arguments.seeds, arguments.image_size), arguments.workers)


if __name__ == "__main__":
    main()
