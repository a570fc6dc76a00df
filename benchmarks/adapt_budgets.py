"""How far do few epochs get from each start, when that is all that is trained?

    python -m benchmarks.adapt_budgets [--seeds 0 1 2] [--epochs 1 2 3 4] [--workers 2]
        [--device cuda]

In `benchmarks.adapt` every start is given as many epochs as any training, and the learning rate
falls over all of them; here it falls over the few that there are. All images; the test split is
read at the epoch that validation chose. The target is a share of what the plain start comes to in
all its epochs, read from the runs of `benchmarks.adapt` on the same kind of device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.adapt_jobs import SIZE, Job, Run, arguments, read_runs, train_missing, trained_with
from benchmarks.adapt_pictures import plot_budgets
from benchmarks.adapt_rows import CHOSEN, MEAN, TARGET, compare, final, over_seeds, with_choice
from benchmarks.bricks import train_all
from benchmarks.common import RESULTS, SETS, write_result
from benchmarks.scoring import facts, summary
from medlego.train import DEFAULT_STARTS

EPOCHS = (1, 2, 3, 4)
HEAD_EPOCHS = (1,)
"""For these the fitted head alone is a control too; there it has most to say."""
ALL = 0
"""Stands for as many epochs as by default."""


def rows(
    runs: Mapping[str, Run], seeds: Sequence[int], budgets: Sequence[int]
) -> list[dict[str, Any]]:
    """A row per number of epochs, new task and start, and per start the mean over the tasks."""
    table: list[dict[str, Any]] = []
    for epochs in budgets:
        tasks = {
            new: with_choice({s: _runs(runs, seeds, new, s, epochs) for s in starts_for(epochs)})
            for new in SETS
        }
        for new, by_start in tasks.items():
            whole = _runs(runs, seeds, new, "plain", ALL)
            target = TARGET * float(over_seeds(whole).values[0])
            for start, tried in by_start.items():
                row = {"new": new, "epochs": epochs, "start": start, **compare(start, [by_start])}
                row["per_seed"] = [round(final(run), 4) for run in tried]
                row["reaches_target"] = row["balanced_accuracy"]["value"] >= target
                table.append(row)
        table += [
            {"new": MEAN, "epochs": epochs, "start": start, **compare(start, list(tasks.values()))}
            for start in (*starts_for(epochs), CHOSEN)
        ]
    return table


def starts_for(epochs: int) -> tuple[str, ...]:
    """What is trained for so many epochs."""
    return (*DEFAULT_STARTS, "head") if epochs in HEAD_EPOCHS else DEFAULT_STARTS


def _runs(
    runs: Mapping[str, Run], seeds: Sequence[int], new: str, start: str, epochs: int
) -> list[Run]:
    return [runs[Job(seed, 0, new, start, epochs).name] for seed in seeds]


def main() -> None:
    """Train what is missing and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, nargs="+", default=list(EPOCHS))
    options = parser.parse_args()
    train_all(
        [(name, "svd", seed, SIZE) for seed in options.seeds for name in SETS], options.workers
    )
    jobs = [
        Job(seed, 0, new, start, epochs)
        for epochs in sorted(options.epochs)
        for seed in options.seeds
        for new in SETS
        for start in starts_for(epochs)
    ]
    jobs += [Job(seed, 0, new, "plain") for seed in options.seeds for new in SETS]
    train_missing(jobs, options.workers, options.device)
    runs = read_runs(options.device)
    table = rows(runs, options.seeds, sorted(options.epochs))
    whole = {
        new: summary(over_seeds(_runs(runs, options.seeds, new, "plain", ALL))) for new in SETS
    }
    plot_budgets(table, whole, RESULTS / f"adapt-budgets-{SIZE}px.png")
    write_result(
        f"adapt_budgets-{SIZE}px",
        table,
        seeds=options.seeds,
        **facts(SIZE),
        setting={"target": TARGET, "plain_in_all_epochs": whole},
        trained_with=trained_with([runs[job.name] for job in jobs]),
    )


if __name__ == "__main__":
    main()
