"""How fast a job over many images is, beside a bare loop over `predict`, and what memory it takes.

    python -m benchmarks.many_images [--images 1000] [--size 512] [--rounds 3] [--long 20000]

A generalist of four routed bricks on a ViT-Tiny of random weights answers PNG files of their
tasks at 224 px: by `predict_many`, and by a loop that hands 64 paths at a time to `predict`.
Both take turns, after a round that warms up; times are the fastest of the rounds. Memory is the
peak of a process of its own that answers a table of so many rows, and of an eighth of them, on the
embedded mini base.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image as Pillow

from benchmarks import procedural
from benchmarks.common import write_result
from benchmarks.dicom_reading import INPUT, NAME
from benchmarks.routing_speed import make_brick
from benchmarks.timing import CORES, alternate, random_base
from medlego.base import BATCH, Base
from medlego.generalist import Generalist, assemble
from medlego.prediction import predict, predict_many

TASKS = procedural.NAMES[:4]
DRAWN = 16


def write_images(folder: Path, count: int, size: int) -> list[Path]:
    """Enlarged images of the bricks' tasks in turn, each with noise of its own."""
    rng = np.random.default_rng(0)
    drawn = [procedural.pixels(name)[:DRAWN] for name in TASKS]
    folder.mkdir()
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        chosen = drawn[number % len(drawn)][number // len(drawn) % DRAWN]
        large = np.asarray(Pillow.fromarray(chosen).resize((size, size))).astype(int)
        noisy = large + rng.integers(-2, 3, large.shape)
        Pillow.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return paths


def save_generalist(place: Path, base: Base) -> Path:
    """Random bricks of procedural tasks, routed; the base goes into the cache."""
    bricks = [make_brick(base, name, 1, seed) for seed, name in enumerate(TASKS)]
    assemble(bricks, mode="routed").save(place)
    base.keep()
    return place


def speed_rows(work: Path, images: int, size: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of a job, and of the loop."""
    directory = save_generalist(work / "generalist", random_base(NAME, INPUT))
    paths = write_images(work / "images", images, size)
    numbers = iter(range(rounds + 1))

    def job() -> None:
        predict_many(directory, work / "images", work / f"{next(numbers)}.parquet")

    def loop() -> None:
        generalist = Generalist.load(directory)
        base = Base.find(generalist.base)
        for start in range(0, len(paths), BATCH):
            predict(generalist, paths[start : start + BATCH], base=base)

    runs = alternate({"job": job, "loop": loop}, CORES, rounds, lambda _name: None)
    seconds = {name: min(wall for wall, _ in taken) for name, taken in runs.items()}
    outcomes = pl.read_parquet(work / "0.parquet").filter(pl.col("outcome") == "answered")
    answered = outcomes["position"].n_unique()
    return [
        {
            "what": f"{NAME} at {INPUT} px, PNG of {size} px",
            "images": images,
            "answered": answered,
            "seconds": seconds["job"],
            "images_per_second": images / seconds["job"],
            "peer": f"a loop over predict, {BATCH} paths at a time",
            "peer_seconds": seconds["loop"],
            "ratio": seconds["loop"] / seconds["job"],
        }
    ]


def memory_rows(work: Path, images: int) -> list[dict[str, Any]]:
    """Peak memory of a long job, and of one an eighth as long."""
    directory = save_generalist(work / "mini", Base.load("mini"))
    names = [str(path) for path in write_images(work / "small", 64, 64)]
    rows = []
    for count in (images // 8, images):
        table = work / f"{count}.csv"
        table.write_text("path\n" + "\n".join(names[n % len(names)] for n in range(count)) + "\n")
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            peak = pool.apply(peak_of, (directory, table, work / f"{count}.out.parquet"))
        rows.append({"what": "peak memory, mini base", "images": count, "peak_mib": peak})
    return rows


def peak_of(directory: Path, table: Path, output: Path) -> float:
    """Mebibytes that this process took at most."""
    torch.set_num_threads(1)
    predict_many(directory, table, output)
    # not getrusage: it counts what the process was before it became this one
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=20_000, help="rows of the long table")
    parser.add_argument("--out", type=Path, help="a folder other than benchmarks/results")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = speed_rows(Path(folder), asked.images, asked.size, asked.rounds)
        rows += memory_rows(Path(folder), asked.long)
    for row in rows:
        print(row)
    place = {"folder": asked.out} if asked.out else {}
    versions = {name: version(name) for name in ("polars", "pillow")}
    print(write_result("many_images", rows, seeds=[0], versions=versions, **place))


if __name__ == "__main__":
    main()
