"""Jobs on a Ray of two processes on this machine.

    python tests/batchray.py GENERALIST IMAGES FOLDER

A program of its own since Ray leaves processes and settings behind. FOLDER/begun.parquet is begun
here and ended on Ray, where an actor is killed meanwhile. Prints a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray

from medlego.errors import BaseError
from medlego.prediction import predict_many

PARTS = 2


class StopError(Exception):
    """Ends the part of the job that runs here."""


def parent(process: int) -> int:
    status = Path(f"/proc/{process}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def actors() -> list[int]:
    """The processes of this program's actors."""
    processes = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            named = (place / "cmdline").read_bytes().startswith(b"ray::Actor")
            if named and parent(parent(int(place.name))) == os.getpid():
                processes.append(int(place.name))
        except (OSError, ValueError):  # ended meanwhile
            continue
    return sorted(processes)


def main() -> None:
    generalist, images, folder = map(Path, sys.argv[1:])
    report: dict[str, Any] = {"done": [], "actors": 0}

    def stop(_what: str, done: int, total: int) -> None:
        if total and done:
            raise StopError

    def kill_one(_what: str, done: int, total: int) -> None:
        if not total:
            return
        if not report["done"]:
            processes = actors()
            report["actors"] = len(processes)
            os.kill(processes[0], signal.SIGKILL)
        report["done"].append(done)

    job: dict[str, Any] = {"part_images": PARTS, "batch_size": 2}
    with contextlib.suppress(StopError):
        predict_many(generalist, images, folder / "begun.parquet", show=stop, **job)
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as place:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=place)
        summary = predict_many(
            generalist, images, folder / "begun.parquet", engine="ray", show=kill_one, **job
        )
        try:
            predict_many(
                generalist,
                images,
                folder / "failed.parquet",
                engine="ray",
                base_weights=folder / "nothing.safetensors",
            )
        except BaseError as error:
            report["error"] = str(error)
        ray.shutdown()
    print(json.dumps({**report, **summary.as_dict()}))


if __name__ == "__main__":
    main()
