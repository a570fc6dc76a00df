"""A watch that is killed at one point after the other: `killed_watch.py URL FOLDER`.

Each watch is a child that kills itself with signal 9 at its point; the last one is left alone.
Prints how many were killed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from dicomfiles import dataset, write
from factories import make_base
from medlego.generalist import Generalist
from medlego.serve import Journal, PacsAccess, PacsClient, Rule, Watcher
from medlego.serve.pacs.results import analysis
from medlego.serve.pacs.results.analysis import analyse
from medlego.serve.reload import Model

RULE = Rule(modality=("DX",), within_days=0)
POINTS = (
    (Journal, "begin"),
    (PacsClient, "fetch"),
    (analysis, "predict_images"),
    (analysis, "structured_report"),
    (PacsClient, "store"),
    (Journal, "settle"),
)


def dying(call: Callable[..., Any], when: int, *, after: bool) -> Callable[..., Any]:
    """The same, except that the process dies at the call of this number, before or after it."""
    calls = iter(range(1, 1000))

    def wrapped(*arguments: Any, **named: Any) -> Any:
        last = next(calls) == when
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def watch(url: str, folder: Path) -> None:
    with Journal.open(folder / "state") as journal:
        Watcher(
            folder / "generalist",
            PacsClient(PacsAccess(url)),
            RULE,
            journal,
            base=make_base(),
            method=None,
        ).poll()


def fatal_watch(url: str, folder: Path, home: Any, name: str, when: int, after: bool) -> None:
    setattr(home, name, dying(getattr(home, name), when, after=after))
    watch(url, folder)


def in_child(work: Callable[[], None]) -> int:
    """The signal that ended the child, 0 where none did."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("the watch failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def warm_up(folder: Path) -> None:
    """Load once what every child would load again."""
    with tempfile.TemporaryDirectory() as place:
        pixels = np.zeros((20, 24), dtype=np.uint8)
        stated: dict[str, Any] = {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3",
            "Modality": "DX",
        }
        path = write(Path(place, "image"), dataset(pixels, **stated))
        generalist = Generalist.load(folder / "generalist")
        model = Model.of(generalist, make_base(), "cpu")
        (analysis,) = analyse(model, [(path, datetime.now())], method=None)
    assert not analysis.problem


def main(url: str, folder: Path) -> None:
    warm_up(folder)
    killed = 0
    for after in (False, True):
        for number, (home, name) in enumerate(POINTS):
            fatal = partial(fatal_watch, url, folder, home, name, 1 + number % 2, after)
            killed += in_child(fatal) == signal.SIGKILL
    assert in_child(lambda: watch(url, folder)) == 0
    print(killed)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
