"""A thousand hostile uploads, one after the other, at a service of its own.

    python -m benchmarks.serve_hostile [--count 1000] [--seed 0]

Each must be refused with a 4xx, or answered with 200 where the file is still a valid image; a
sane image in between must always be answered. `benchmarks.uploads` says what they are.
"""

from __future__ import annotations

import argparse
import http.client
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from benchmarks.routing_speed import make_brick
from benchmarks.serve_load import BRICKS, write_images
from benchmarks.serving import post, served
from benchmarks.uploads import FORM, form, uploads
from medlego.base import MINI_NAME, Base
from medlego.generalist import assemble
from medlego.serve import ServiceLimits

EVERY = 50
"""After so many uploads a sane image is sent, and memory looked at."""


def build(folder: Path) -> Path:
    """A generalist of random bricks on the embedded base."""
    base = Base.load(MINI_NAME)
    bricks = [make_brick(base, f"procedural-{number}", 0, number) for number in range(BRICKS)]
    assemble(bricks, mode="routed").save(folder / "generalist")
    return folder / "generalist"


def measured(count: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Statuses by kind of upload, sane requests that were answered, and memory on the way."""
    directory = build(folder)
    sane = form(("images", "x", write_images(folder, 1)[0].read_bytes()))
    statuses: dict[str, Counter[int | str]] = {}
    answered, asked, memory, slowest = 0, 0, [], 0.0
    start = time.perf_counter()
    with served(directory, folder / "log") as service:
        for number, upload in enumerate(uploads(count, seed, ServiceLimits())):
            if number % EVERY == 0:
                asked += 1
                answered += _status(service.port, sane, FORM) == 200
                memory.append(service.rss_mib())
            began = time.perf_counter()
            status = _status(service.port, upload.body, upload.content_type)
            slowest = max(slowest, time.perf_counter() - began)
            statuses.setdefault(upload.kind, Counter())[status] += 1
        ready, _ = service.get("/health/ready")
        memory.append(service.rss_mib())
    rows: list[dict[str, Any]] = [
        {"kind": kind, "statuses": {str(s): n for s, n in sorted(counts.items(), key=str)}}
        for kind, counts in statuses.items()
    ]
    other = sum(n for counts in statuses.values() for s, n in counts.items() if not _sound(s))
    whole = {
        "kind": "all",
        "uploads": count,
        "neither 200 nor 4xx": other,
        "sane requests": asked,
        "sane requests answered": answered,
        "ready": ready == 200,
        "seconds": round(time.perf_counter() - start, 1),
        "slowest_s": round(slowest, 2),
        "rss_mib": memory,
    }
    return [whole, *rows]


def _status(port: int, body: bytes, kind: str) -> int | str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        return post(connection, body, kind)[0]
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _sound(status: int | str) -> bool:
    return isinstance(status, int) and (status == 200 or 400 <= status < 500)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="write the result there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(arguments.count, arguments.seed, Path(folder))
    for row in rows:
        print(row)
    where = {} if arguments.folder is None else {"folder": arguments.folder}
    write_result("serve_hostile", rows, seeds=[arguments.seed], **where)


if __name__ == "__main__":
    main()
