"""Random damage to everything that is read: only medlego's own errors may come of it.

    python tests/fuzz.py [TARGET ...] [--seconds 600] [--seed 0] [--folder fuzz]
    python tests/fuzz.py TARGET --seed 0 --number 1234
    python tests/fuzz.py TARGET --atheris [--seconds 600]

An input follows from target, seed and number, so `--number` makes one again. Numbers go up and are
kept in the folder: stopped, a run goes on where it was. Findings are printed and their inputs
kept. With the package atheris, coverage leads the mutations; its corpus lies in the folder too.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

if "--atheris" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["medlego", "pydicom", "nibabel"]):
        import fuzztargets  # noqa: F401

from fuzztargets import TARGETS
from medlego.errors import MedLegoError

SLOW_S = 20.0
"""An input that takes longer is a finding too."""


class Run:
    """One target's numbers so far, and what was found; kept in a folder."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.name, self.seed, self.target = name, seed, TARGETS[name]
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seeds = self.target.seeds()
        self._file = self.folder / f"seed-{seed}.json"
        self.counts: dict[str, Any] = {"tried": 0, "read": 0, "refused": 0, "findings": {}}
        if self._file.exists():
            self.counts = json.loads(self._file.read_text())
        if running := self.counts.pop("running", None):
            self.counts["tried"] = running[0] + 1
            self._note("its process ended", *running)

    def input(self, number: int) -> tuple[str, bytes]:
        """The suffix and content that follow from target, seed and number."""
        rng = random.Random(f"{self.name} {self.seed} {number}")
        suffix, content = rng.choice(self.seeds)
        return suffix, self.target.mutate(content, rng)

    def one(self, suffix: str, content: bytes, number: int) -> str | None:
        """Read one input; the finding's kind if it is one."""
        path = self.folder / f"input{suffix}"
        path.write_bytes(content)
        self.save(running=[number, suffix])
        self.counts["tried"] = number + 1
        start, kind = time.monotonic(), None
        try:
            self.target.read(path)
            self.counts["read"] += 1
        except MedLegoError:
            self.counts["refused"] += 1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Rust's panics are no Exception
            places = [
                f for f in traceback.extract_tb(error.__traceback__) if "medlego" in f.filename
            ]
            place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
            kind = f"{type(error).__name__} at {place}: {str(error)[:100]}"
        if kind is None and (taken := time.monotonic() - start) > SLOW_S:
            kind = f"slow: {taken:.0f} s"
        if kind:
            self._note(kind, number, suffix)
        return kind

    def _note(self, kind: str, number: int, suffix: str) -> None:
        short = kind.partition(": ")[0]
        if short in self.counts["findings"]:
            return
        kept = self.folder / f"finding-{self.seed}-{number}{suffix}"
        kept.write_bytes((self.folder / f"input{suffix}").read_bytes())
        self.counts["findings"][short] = {"number": number, "said": kind, "input": kept.name}
        print(f"{self.name} --seed {self.seed} --number {number}: {kind}; {kept}", flush=True)

    def go(self, until: float) -> None:
        """Go on until a moment."""
        try:
            while time.monotonic() < until:
                number = self.counts["tried"]
                self.one(*self.input(number), number)
        finally:
            self.save()

    def save(self, **more: Any) -> None:
        """Write the state; `running` is the input of which the process may end."""
        self._file.write_text(json.dumps(self.counts | more))


def led_by_coverage(run: Run, seconds: float) -> None:
    """As `Run.go`, with atheris choosing what to damage further."""
    corpus = run.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    suffixes = [suffix for suffix, _ in run.seeds]
    for number, (_, content) in enumerate(run.seeds):
        (corpus / f"{number}").write_bytes(bytes([number]) + content)

    def once(data: bytes) -> None:
        if data:
            number = run.counts["tried"]
            run.one(suffixes[data[0] % len(suffixes)], data[1:], number)

    flags = [f"-max_total_time={int(seconds)}", f"-seed={run.seed + 1}", "-rss_limit_mb=8000"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], once)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all in turn if none")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("fuzz"))
    parser.add_argument("--number", type=int, help="only this input, with its traceback")
    parser.add_argument("--atheris", action="store_true", help="one target, led by coverage")
    asked = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", module="PIL")  # of tags that lie; they go to the user
    for name in asked.targets or TARGETS:
        run = Run(name, asked.seed, asked.folder)
        if asked.number is not None:
            suffix, content = run.input(asked.number)
            path = run.folder / f"number-{asked.number}{suffix}"
            path.write_bytes(content)
            print(path)
            run.target.read(path)
        elif asked.atheris:
            led_by_coverage(run, asked.seconds)
        else:
            run.go(time.monotonic() + asked.seconds)
        counts = {**run.counts, "findings": len(run.counts["findings"])}
        print(f"{name}: {counts}", flush=True)


if __name__ == "__main__":
    main()
