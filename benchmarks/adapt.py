"""Is a generalist the better start for a new task?

    python -m benchmarks.adapt [--seeds 0 1 2] [--few 5 10 50] [--workers 2] [--device cuda]

Each of the five sets is the new task in turn, the generalist assembled from plain bricks of the
other four. Every start trains on all images, and on few a class (then validation has as few). The
best epoch is the validation's. With all images the test split is read after every epoch, for the
curves alone.

With few images the plain start is trained twice more, since a choice among three gains by the
choice alone; these runs may be of another kind of device. Only runs that are not kept are trained.
Where both kinds of device trained a run, the result says how far they lie apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.adapt_jobs import (
    DEVICES,
    SIZE,
    Job,
    arguments,
    read_all_runs,
    read_runs,
    train_missing,
    trained_with,
)
from benchmarks.adapt_pictures import plot_epochs, plot_images
from benchmarks.adapt_rows import REPEATS, TARGET, curves, final, rows
from benchmarks.bricks import train_all
from benchmarks.common import RESULTS, SETS, write_result
from benchmarks.scoring import facts
from medlego.train import DEFAULT_STARTS
from medlego.train.adapt import CHOICES

FEW = (5, 10, 50)


def beside_the_other(device: str) -> dict[str, Any]:
    """Test scores of the runs that the other kind of device trained too, beside those here."""
    (other,) = (name for name in DEVICES if name != device)
    runs, theirs = read_runs(device), read_runs(other)
    both = sorted(runs.keys() & theirs.keys())
    apart = [final(runs[name]) - final(theirs[name]) for name in both]
    comparison: dict[str, Any] = {"device": other, "runs": len(both)}
    if apart:
        comparison["mean_difference"] = round(float(np.mean(apart)), 4)
        comparison["mean_absolute_difference"] = round(float(np.mean(np.abs(apart))), 4)
    return comparison


def main() -> None:
    """Train what is missing and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, nargs="*", default=list(FEW))
    options = parser.parse_args()
    bricks = [(name, "svd", seed, SIZE) for seed in options.seeds for name in SETS]
    train_all(bricks, options.workers)
    jobs = [
        Job(seed, few, new, start)
        for few in (0, *options.few)
        for seed in options.seeds
        for new in SETS
        for start in CHOICES
    ]
    train_missing(jobs, options.workers, options.device)
    repeats = [
        Job(seed, few, new, "plain", again=again)
        for few in options.few
        for seed in options.seeds
        for again in REPEATS
        for new in SETS
    ]
    missing = [job for job in repeats if job.name not in read_all_runs(options.device)]
    train_missing(missing, options.workers, options.device)
    runs = read_all_runs(options.device)
    table = rows(runs, options.seeds, options.few)
    plot_epochs(curves(runs, options.seeds), RESULTS / f"adapt-epochs-{SIZE}px.png")
    plot_images(table, RESULTS / f"adapt-images-{SIZE}px.png")
    write_result(
        f"adapt-{SIZE}px",
        table,
        seeds=options.seeds,
        **facts(SIZE),
        setting={"target": TARGET, "starts_by_default": DEFAULT_STARTS},
        trained_with=trained_with([runs[job.name] for job in (*jobs, *repeats)]),
        other_device=beside_the_other(options.device),
    )


if __name__ == "__main__":
    main()
