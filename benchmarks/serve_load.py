"""The service under load, beside the same model answering batches offline.

    python -m benchmarks.serve_load [--clients 32] [--seconds 60] [--image-size 224] [--mode routed]

ViT-B of random weights and three bricks with profiles of procedural tasks; one PNG a request.
Offline reads the same files and answers them in batches of 64, on the same cores, before and after
the load, while the service idles; its rate is the faster of the two. Every answer is compared with
the offline one, and every request with its image: none may be lost or mixed up.
"""

from __future__ import annotations

import argparse
import http.client
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import procedural
from benchmarks.common import write_result
from benchmarks.routing_speed import NAME, make_brick
from benchmarks.serving import Served, post, served
from benchmarks.timing import CORES, random_base
from benchmarks.uploads import form
from medlego.base import BATCH, Base, Inputs
from medlego.data.samples import FileImages
from medlego.generalist import Generalist, assemble
from medlego.merge import as_mode
from medlego.prediction import Engine, Prediction

BRICKS = 3
WARM_S = 10.0
EVERY_S = 10.0
TOLERANCE = 1e-5


@dataclass
class Tally:
    """What one client saw."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    lost: int = 0
    apart: float = 0.0
    """Largest difference of a probability from the offline one."""


def write_images(folder: Path, count: int) -> list[Path]:
    """PNGs of the bricks' tasks in turn."""
    data = [procedural.dataset(f"procedural-{number}") for number in range(BRICKS)]
    paths = []
    for number in range(count):
        images: Any = data[number % BRICKS].val.images
        path = folder / f"{number}.png"
        Image.fromarray(images.array[number // BRICKS]).save(path)
        paths.append(path)
    return paths


def offline(engine: Engine, base: Base, paths: list[Path]) -> tuple[list[Prediction], float]:
    """Answers as `predict` gives them, and images a second with reading."""
    start, predictions = time.perf_counter(), []
    inputs = Inputs(FileImages(tuple(paths)), base)
    for pixels in inputs.batches():
        predictions += engine.predict(pixels)
    return predictions, len(paths) / (time.perf_counter() - start)


def difference(answers: list[dict[str, Any]], prediction: Prediction) -> float:
    """Largest difference of probabilities; infinite where other tasks answered."""
    if [a["task"] for a in answers] != [a.task.name for a in prediction.answers]:
        return float("inf")
    pairs = [
        (online, known)
        for answer, own in zip(answers, prediction.answers, strict=True)
        for online, known in zip(answer["probabilities"].values(), own.probs, strict=True)
    ]
    return max((abs(online - known) for online, known in pairs), default=0.0)


def client(
    port: int,
    bodies: list[bytes],
    expected: list[Prediction],
    seed: int,
    until: float,
    tally: Tally,
) -> None:
    """Ask one image after the other until the time is up."""
    generator = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.perf_counter() < until:
        number = int(generator.integers(len(bodies)))
        start = time.perf_counter()
        try:
            status, document = post(connection, bodies[number])
        except OSError:
            tally.lost += 1
            connection.close()
            continue
        tally.seconds.append(time.perf_counter() - start)
        if status != 200:
            tally.errors += 1
            continue
        (prediction,) = document["predictions"]
        tally.apart = max(tally.apart, difference(prediction["answers"], expected[number]))


def load(
    service: Served, bodies: list[bytes], expected: list[Prediction], clients: int, seconds: float
) -> tuple[list[Tally], float, list[float]]:
    """So many clients for so long.

    Returns:
        Their tallies, the seconds until the last was answered, and the service's memory in MiB at
        the start and every `EVERY_S` seconds.
    """
    tallies = [Tally() for _ in range(clients)]
    start = time.perf_counter()
    threads = [
        threading.Thread(
            target=client, args=(service.port, bodies, expected, seed, start + seconds, tally)
        )
        for seed, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    memory = [service.rss_mib()]
    while (left := start + seconds - time.perf_counter()) > 0:
        time.sleep(min(left, EVERY_S))
        memory.append(service.rss_mib())
    for thread in threads:
        thread.join()
    return tallies, time.perf_counter() - start, memory


def measured(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One run."""
    os.environ["MEDLEGO_CACHE"] = str(folder / "cache")
    base = random_base(NAME, arguments.image_size)
    base.keep()
    bricks = [make_brick(base, f"procedural-{number}", 1, number) for number in range(BRICKS)]
    assemble(bricks, mode=arguments.mode).save(folder / "generalist")
    engine = Engine(Generalist.load(folder / "generalist"), base, mode=as_mode(arguments.mode))
    paths = write_images(folder, arguments.images)
    bodies = [form(("images", "x", path.read_bytes())) for path in paths]
    offline(engine, base, paths[:BRICKS])
    with served(folder / "generalist", folder / "log") as service:
        load(service, bodies, offline(engine, base, paths)[0], arguments.clients, WARM_S)
        expected, before = offline(engine, base, paths)
        tallies, taken, memory = load(
            service, bodies, expected, arguments.clients, arguments.seconds
        )
        _, after = offline(engine, base, paths)
        _, metrics = service.get("/metrics")
    seconds = np.array([s for tally in tallies for s in tally.seconds])
    rate, peer = len(seconds) / taken, max(before, after)
    numbers = dict(
        line.rsplit(" ", 1) for line in metrics.decode().splitlines() if not line.startswith("#")
    )
    return [
        {
            "name": f"{arguments.clients} clients, one image a request",
            "seconds": round(taken, 2),
            "requests": len(seconds),
            "errors": sum(tally.errors for tally in tallies),
            "lost": sum(tally.lost for tally in tallies),
            "largest_difference": max(tally.apart for tally in tallies),
            "images_per_second": round(rate, 3),
            "peer": f"offline, batches of {BATCH}",
            "peer_images_per_second": {"before": round(before, 3), "after": round(after, 3)},
            "ratio": round(rate / peer, 4),
            "p50_s": round(float(np.quantile(seconds, 0.5)), 4),
            "p99_s": round(float(np.quantile(seconds, 0.99)), 4),
            "rss_mib": memory,
            "images_a_batch": round(
                float(numbers["medlego_batch_images_sum"])
                / float(numbers["medlego_batch_images_count"]),
                2,
            ),
        }
    ]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--mode", default="routed")
    parser.add_argument("--folder", type=Path, help="write the result there")
    arguments = parser.parse_args()
    average = os.getloadavg()
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(arguments, Path(folder))
    for row in rows:
        print(row)
    where = {} if arguments.folder is None else {"folder": arguments.folder}
    write_result(
        "serve_load",
        rows,
        seeds=list(range(arguments.clients)),
        versions={name: version(name) for name in ("fastapi", "uvicorn")},
        setting={
            "base": NAME,
            "image_size": arguments.image_size,
            "mode": arguments.mode,
            "bricks": BRICKS,
            "threads": CORES,
            "tolerance": TOLERANCE,
            "load_average": average,
        },
        **where,
    )


if __name__ == "__main__":
    main()
