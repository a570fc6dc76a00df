"""Run every test several times in random order while other work keeps the cores busy.

    python -m tools.stress_tests [--runs 5] [--workers 2] [--busy 2] [-- ARGUMENTS OF PYTEST]

A test that depends on the order, on another test or on how fast the machine is fails now and then.
This finds such tests: it prints what failed with the seed of the order, and exits 1 if anything
did. Finished runs are kept in build/stress by the state of the code, so a stress that was
interrupted goes on; each commit is run in orders of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "stress"
RAN = (0, 1)
"""Exit codes of pytest after which every test has a result."""


def code_state(words: Sequence[str]) -> str:
    """A digest of the commit, of what differs from it, and of pytest's arguments."""
    git = [["rev-parse", "HEAD"], ["diff", "HEAD"]]
    parts = [subprocess.check_output(["git", *command], cwd=ROOT) for command in git]
    return hashlib.sha256(b"\0".join([*parts, *map(str.encode, words)])).hexdigest()[:12]


def _spin() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        sum(range(100_000))


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep so many cores busy inside the block."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_spin, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def run_tests(seed: int, folder: Path, workers: int, words: Sequence[str]) -> Path:
    """Run the tests in the order of a seed; the results as JUnit's XML.

    Raises:
        SystemExit: pytest ended before every test had a result.
    """
    unfinished, log = folder / f"{seed}.unfinished", folder / f"{seed}.log"
    command = [sys.executable, "-m", "pytest", f"--junitxml={unfinished}", *words]
    command += ["-o", "junit_family=xunit1", "-p", "no:cacheprovider", f"--randomly-seed={seed}"]
    command += ["-n", str(workers), "--dist", "worksteal"] if workers else []
    with log.open("w") as stream:
        code = subprocess.call(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
    if code not in RAN:
        raise SystemExit(f"{log}: expected pytest to end with 0 or 1, got {code}")
    return unfinished.rename(folder / f"{seed}.xml")


def failures(results: Path) -> list[str]:
    """The tests that failed, by the names that pytest takes."""
    cases = ElementTree.parse(results).iter("testcase")
    return [
        f"{case.get('file')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]


def main(arguments: Sequence[str] | None = None, directory: Path = KEPT) -> int:
    """Run what has not run yet, and list the failures of all runs; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="processes that run tests")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="cores to keep busy")
    parser.add_argument("words", nargs="*", metavar="ARGUMENT", help="passed on to pytest")
    options = parser.parse_args(arguments)
    state = code_state(options.words)
    folder = directory / state
    folder.mkdir(parents=True, exist_ok=True)
    first, seeds_of = int(state[:7], 16), dict[str, list[int]]()
    for seed in range(first, first + options.runs):
        results = folder / f"{seed}.xml"
        began = time.monotonic()
        if not results.exists():
            with busy_cores(options.busy):
                run_tests(seed, folder, options.workers, options.words)
        failed = failures(results)
        for name in failed:
            seeds_of.setdefault(name, []).append(seed)
        minutes = (time.monotonic() - began) / 60
        print(f"seed {seed}: {len(failed)} failed, {minutes:.1f} minutes", flush=True)
    for name, seeds in sorted(seeds_of.items()):
        print(f"{len(seeds)} of {options.runs}: {name}  --randomly-seed={seeds[0]}")
    return 1 if seeds_of else 0


if __name__ == "__main__":
    sys.exit(main())
