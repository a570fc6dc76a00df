"""Kills jobs by SIGKILL just before drawn changes of the disk, then ends them in peace.

    python tests/batchkill.py GENERALIST IMAGES FOLDER SEED

A program of its own since it forks. The unbroken job is FOLDER/whole.parquet, the others
FOLDER/K[-K…].parquet by where they were killed. Prints a JSON object: how many changes an unbroken
job makes, and each job's ends, by signal number or 0.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from medlego.base import Base
from medlego.generalist import Generalist
from medlego.prediction import predict_many

PARTS = 3
STRIDE = 3
"""Jobs are killed at every third change from a drawn one on; writing a file is two changes."""
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def count_changes(at_change: Callable[[int], None]) -> None:
    """Call with 1, 2, … before each file or folder is made, renamed or removed."""
    done = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event in _CHANGES or (event == "open" and arguments[2] & _WRITING):
            done += 1
            at_change(done)

    sys.addaudithook(hook)


def kill_at(number: int) -> Callable[[int], None]:
    """What ends this process before a change."""

    def at_change(done: int) -> None:
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_change


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the job failed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main() -> None:
    generalist, images, folder, seed = (*map(Path, sys.argv[1:4]), int(sys.argv[4]))

    Base.find(Generalist.load(generalist).base)  # imports once what every child needs

    def job(output: Path) -> None:
        predict_many(generalist, images, output, part_images=PARTS, batch_size=2, workers=1)

    def counted() -> None:
        changes: list[int] = []
        count_changes(changes.append)
        job(folder / "whole.parquet")
        (folder / "changes").write_text(str(changes[-1]))

    in_child(counted)
    changes = int((folder / "changes").read_text())
    rng = random.Random(seed)
    places = [*range(rng.randint(1, STRIDE), changes, STRIDE), changes]
    plans: list[tuple[int, ...]] = [(place,) for place in places]
    plans.append(tuple(rng.sample(range(1, changes // 2), 2)))
    ends = {}
    for plan in plans:
        output = folder / f"{'-'.join(map(str, plan))}.parquet"

        def killed(place: int, output: Path = output) -> None:
            count_changes(kill_at(place))
            job(output)

        ends[output.name] = [in_child(partial(killed, k)) for k in plan]
        ends[output.name].append(in_child(partial(job, output)))
    print(json.dumps({"changes": changes, "ends": ends}))


if __name__ == "__main__":
    main()
