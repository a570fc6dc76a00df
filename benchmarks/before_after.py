"""Is this checkout as fast as an earlier one? Both run the speed benchmarks, taking turns.

Each benchmark runs in two checkouts, one after the other, in turned order each round, so that
other work on the machine disturbs both alike. A row's ratio is seconds before over seconds after,
paired by round; the interval is that of the mean of the logarithms (Student's t, 95 %). A row is
slower where the whole interval lies below 0.95. Runs are kept by commit, so a killed comparison
goes on.

    python -m benchmarks.before_after BEFORE AFTER [--rounds N] [--only NAME …]

BEFORE and AFTER are clones; benchmarks write their results into them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import CACHE, write_result

LIMIT = 0.95
JOBS = {
    "merge_speed": "--repeats 3 --stream 100",
    "edit_speed": "--repeats 5",
    "routing_speed": "--rounds 4 --batch 8",
    "dicom_reading": "--files 200 --epochs 2 --rounds 2",
    "many_images": "--images 300 --rounds 2 --long 2000",
    "serve_load": "--clients 16 --seconds 20 --image-size 112",
}
"""Each benchmark at a size that a round of all takes minutes."""


def commit(checkout: Path) -> str:
    """The commit that a checkout stands at."""
    return subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def seconds(row: dict[str, Any]) -> float | None:
    """What a row measured, as time; None for rows of memory."""
    if "images_per_second" in row:
        return 1 / row["images_per_second"]
    return row.get("seconds")


def run(checkout: Path, job: str, file: Path) -> dict[str, float]:
    """Seconds by row of one run, or of the one that is kept."""
    if not file.exists():
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        command = [sys.executable, "-m", f"benchmarks.{job}", *JOBS[job].split()]
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=sys.stderr)
        result = json.loads((checkout / "benchmarks" / "results" / f"{job}.json").read_text())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result["rows"]))
    rows = json.loads(file.read_text())
    measured: dict[str, float] = {}
    for row in rows:
        name = f"{row.get('name') or row['what']} {row.get('method', '')}".strip()
        if (value := seconds(row)) is not None:
            measured.setdefault(name, value)
    return measured


def compare(job: str, runs: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """One row per row of a benchmark, with its ratio and interval."""
    rows = []
    for name in runs["before"][0]:
        pairs = [(b[name], a[name]) for b, a in zip(runs["before"], runs["after"], strict=True)]
        logs = np.log([before / after for before, after in pairs])
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
        mean = logs.mean()
        rows.append(
            {
                "benchmark": job,
                "row": name,
                "seconds": float(np.median([after for _, after in pairs])),
                "peer": "the earlier checkout",
                "peer_seconds": float(np.median([before for before, _ in pairs])),
                "ratio": float(np.exp(mean)),
                "interval": [float(np.exp(mean - half)), float(np.exp(mean + half))],
                "slower": bool(np.exp(mean + half) < LIMIT),
            }
        )
    return rows


def main() -> int:
    """Run, print and write `results/before_after.json`; 1 where a row is slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    arguments = parser.parse_args()
    checkouts = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    commits = {side: commit(checkout) for side, checkout in checkouts.items()}
    folder = CACHE / "before_after"
    rows = []
    for job in arguments.only:
        runs: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
        for number in range(arguments.rounds):
            for side in ("before", "after") if number % 2 == 0 else ("after", "before"):
                print(f"{job}: round {number + 1} of {arguments.rounds}, {side}", file=sys.stderr)
                file = folder / f"{job}-{commits[side][:12]}-{number}.json"
                runs[side].append(run(checkouts[side], job, file))
        rows += compare(job, runs)
    for row in rows:
        low, high = row["interval"]
        mark = "  SLOWER" if row["slower"] else ""
        print(f"{row['ratio']:.3f} [{low:.3f}, {high:.3f}]  {row['benchmark']}: {row['row']}{mark}")
    write_result("before_after", rows, seeds=[], commits=commits, rounds=arguments.rounds)
    return int(any(row["slower"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
