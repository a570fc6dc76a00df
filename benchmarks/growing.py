"""How much each specialist keeps as a merge grows: 2 to 5 real bricks, then procedural ones too.

    python -m benchmarks.growing [--seeds 0 1 2] [--only-val]

Up to five bricks, five choices of neighbours in a ring count, so that every set counts alike;
beyond, procedural bricks join, which no real brick has met in training. Scores are of the real
sets in the merge, over their plainly trained specialists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks import procedural
from benchmarks.bricks import get_brick, train_all
from benchmarks.common import RESULTS, SETS, arguments, base, dataset, write_result
from benchmarks.parallel import in_processes
from benchmarks.scoring import BOOTSTRAP_SEED, cached_features, facts, read, summary
from medlego.bricks import Brick
from medlego.generalist import assemble, specialist
from medlego.metrics import RESAMPLES, Replicates, Sample, score_replicates

SIZE = 112
SIZES = (2, 3, 4, 5, 7, 10, 15, 20)
SCORE = "balanced_accuracy"


@dataclass(frozen=True)
class Curve:
    """One line of the chart."""

    name: str
    kind: str
    method: str = "linear"


CURVES = (
    Curve("plain bricks, linear", "svd"),
    Curve("plain bricks, tsv", "svd", "tsv"),
    Curve("plain bricks with refitted heads, linear", "refit"),
    Curve("merge-aware bricks, linear", "aware"),
    Curve("merge-aware bricks with refitted heads, linear", "aware-refit"),
)


def choices(size: int) -> list[tuple[str, ...]]:
    """The names in each merge of a size: neighbours in a ring, then all and procedural ones."""
    ring = [*SETS, *SETS]
    if size < len(SETS):
        return [tuple(ring[first : first + size]) for first in range(len(SETS))]
    return [(*SETS, *procedural.NAMES[: size - len(SETS)])]


def member(name: str, kind: str, seed: int) -> Brick:
    """A real brick of the kind and seed, or a procedural one."""
    if procedural.is_procedural(name):
        return get_brick(name, "svd", 0, SIZE)
    return get_brick(name, kind, seed, SIZE)


def replicates(members: Sequence[Brick], name: str, curve: Curve, split: str) -> Replicates:
    """A set's score in one merge, with its bootstrap replicates."""
    (brick,) = (brick for brick in members if brick.task.name == name)
    merged = assemble(members, curve.method) if len(members) > 1 else specialist(brick)
    label = f"{len(members)}-bricks"
    identity = [curve.method, merged.recipe.slope, [b.deltas_digest for b in members]]
    build = partial(merged.fold, base(SIZE))
    pooled = cached_features(label, identity, build, name, split, SIZE)
    data = dataset(name)
    probs, labels = read(brick.task, brick.head, pooled), data.split(split).labels
    draws = RESAMPLES if split == "test" else 1
    number = list(SETS).index(name)
    sample = Sample(data.task, probs, labels)
    return score_replicates(sample, resamples=draws, seed=BOOTSTRAP_SEED + number)[SCORE]


def mean_share(curve: Curve, size: int, seeds: Sequence[int], split: str) -> Replicates:
    """Mean normalised score over choices, their real sets and seeds, with replicates."""
    shares = []
    for seed in seeds:
        for names in choices(size):
            members = [member(name, curve.kind, seed) for name in names]
            for name in (name for name in names if name in SETS):
                whole = replicates([member(name, "svd", seed)], name, curve, split)
                shares.append(replicates(members, name, curve, split) / whole)
    return Replicates.mean(shares)


def everything(
    seeds: Sequence[int], split: str, workers: int
) -> dict[tuple[Curve, int], Replicates]:
    """Every curve at every size, printed as it comes."""
    points = [(curve, size) for curve in CURVES for size in SIZES]
    by_point = {}
    shares = in_processes(lambda point: mean_share(*point, seeds, split), points, workers)
    for (curve, size), share in zip(points, shares, strict=True):
        print(f"{share.values[0]:.3f} {curve.name}, {size} bricks", flush=True)
        by_point[curve, size] = share
    return by_point


def run(seeds: list[int], workers: int) -> None:
    """Evaluate on the test splits and write the result."""
    shares = everything(seeds, "test", workers)
    rows = [
        {
            "curve": curve.name,
            "kept": {str(size): summary(shares[curve, size]) for size in SIZES},
        }
        for curve in CURVES
    ]
    plot(rows, RESULTS / f"growing-{SIZE}px.png")
    write_result(
        f"growing-{SIZE}px",
        rows,
        seeds=seeds,
        **facts(SIZE),
    )


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One line with its interval per curve."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for row in rows:
        values = list(row["kept"].values())
        sizes = [int(size) for size in row["kept"]]
        (line,) = axes.plot(sizes, [v["value"] for v in values], marker="o", label=row["curve"])
        low, high = zip(*(v["interval"] for v in values), strict=True)
        axes.fill_between(sizes, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.axvline(len(SETS) + 1, color="grey", linestyle=":")
    axes.text(len(SETS) + 1.2, axes.get_ylim()[1], "procedural strangers join →", va="top")
    axes.set(xlabel="bricks in the merge", ylabel="balanced accuracy kept", xticks=SIZES)
    axes.legend(fontsize="small", framealpha=1)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Parse, train what is missing, evaluate."""
    options = arguments(__doc__).parse_args()
    kinds = dict.fromkeys(["svd", "aware", *(curve.kind for curve in CURVES)])
    jobs = [(n, kind, seed, SIZE) for kind in kinds for seed in options.seeds for n in SETS]
    train_all([*jobs, *((n, "svd", 0, SIZE) for n in procedural.NAMES)], options.workers)
    if options.only_val:
        everything(options.seeds, "val", options.workers)
    else:
        run(options.seeds, options.workers)


if __name__ == "__main__":
    main()
