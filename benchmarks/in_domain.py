"""Three sites' bricks of one task merged, beside the sites' own models and pooled training.

    python -m benchmarks.in_domain [--seeds 0 1 2] [--only-val]

Each set is shared out over three sites with skewed labels (`benchmarks.sites`); each site trains
a plain brick on its part. Choices are made on all sites' validation images together; the test
splits are read once, for the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.bricks import SHARED_OUT, get_brick, site_jobs, train_all
from benchmarks.common import arguments, base, dataset, write_result
from benchmarks.parallel import in_processes
from benchmarks.scoring import BOOTSTRAP_SEED, cached_features, facts, read, summary
from benchmarks.sites import COUNT, LEAST, SKEW, site_names, site_rows
from medlego.bricks import Brick, fold
from medlego.evaluation.probes import Probe, fit_probe
from medlego.generalist import assemble, specialist
from medlego.merge import METHODS
from medlego.metrics import RESAMPLES, Replicates, Sample, point_scores, score_replicates

SIZE = 112
STRENGTHS = (0.7, 1.0, 1.3, 1.7, 2.2)
APART = ("tsv", "iso-c", "core-ties")

Model = Callable[[int, str, str], list[np.ndarray]]
"""Seed, set and split to one or several models' probabilities, (N, labels) each."""


@cache
def bricks(name: str, seed: int, kind: str = "svd") -> list[Brick]:
    """The sites' bricks of a set."""
    return [get_brick(site, kind, seed, SIZE) for site in site_names(name)]


def alone(brick: Brick, name: str, split: str) -> np.ndarray:
    """One brick's probabilities."""
    build = partial(specialist(brick).fold, base(SIZE))
    pooled = cached_features("brick-alone", brick.digest, build, name, split, SIZE)
    return read(brick.task, brick.head, pooled)


def sites_alone(seed: int, name: str, split: str) -> list[np.ndarray]:
    """Every site's own model."""
    return [alone(brick, name, split) for brick in bricks(name, seed)]


def ensemble(seed: int, name: str, split: str) -> list[np.ndarray]:
    """The mean of the sites' probabilities: one pass per site and image."""
    return [np.mean(sites_alone(seed, name, split), axis=0)]


def pooled(seed: int, name: str, split: str) -> list[np.ndarray]:
    """One brick trained on all images in one place."""
    return [alone(get_brick(name, "svd", seed, SIZE), name, split)]


def frozen(name: str, split: str) -> torch.Tensor:
    """Features of the untouched base."""
    return cached_features("frozen", "frozen", lambda: base(SIZE).module, name, split, SIZE)


@cache
def probe(name: str, site: str | None, seed: int) -> Probe:
    """A linear probe on the frozen base, fitted on one site's images or on all."""
    pairs = []
    for split in ("train", "val"):
        labels = dataset(name).split(split).labels
        rows = np.arange(len(labels)) if site is None else site_rows(site, seed)[split]
        pairs.append((frozen(name, split).numpy()[rows], labels[rows]))
    return fit_probe(dataset(name).task, *pairs)


def site_probes(seed: int, name: str, split: str) -> list[np.ndarray]:
    """Every site's own probe."""
    features = frozen(name, split).numpy()
    return [probe(name, site, seed).probs(features) for site in site_names(name)]


def pooled_probe(_seed: int, name: str, split: str) -> list[np.ndarray]:
    """A probe on all images in one place."""
    return [probe(name, None, 0).probs(frozen(name, split).numpy())]


@dataclass(frozen=True)
class Merge:
    """The sites' bricks as one capability; `strength` multiplies their weighted mean."""

    sites: str = "auto"
    strength: float = 1.0
    kind: str = "svd"

    def __call__(self, seed: int, name: str, split: str) -> list[np.ndarray]:
        """Read by the sites' merged head."""
        members = bricks(name, seed, self.kind)
        merged = assemble(members, "linear", coefficients=self.strength, sites=self.sites)
        identity = [merged.recipe.digest]
        build = partial(merged.fold, base(SIZE))
        features = cached_features("sites-linear", identity, build, name, split, SIZE)
        (reader,) = merged.readers
        return [read(reader.task, reader.head, features)]


@dataclass(frozen=True)
class Apart:
    """A method that sees every site's brick as a task vector of its own; for comparison.

    `medlego assemble` does not do this: it merges sites linearly, whatever the method.
    """

    method: str
    strength: float = 1.0

    def __call__(self, seed: int, name: str, split: str) -> list[np.ndarray]:
        """Read by the sites' merged head."""
        members = bricks(name, seed)
        whole = assemble(members, "linear", coefficients=1.0)

        def build() -> nn.Module:
            vectors = [brick.deltas for brick in members]
            merged = METHODS[self.method](vectors, [self.strength / len(members)] * len(members))
            return fold(base(SIZE).module, whole.targets, merged.deltas)

        identity = [self.method, self.strength, [brick.digest for brick in members]]
        features = cached_features(f"sites-{self.method}", identity, build, name, split, SIZE)
        (reader,) = whole.readers
        return [read(reader.task, reader.head, features)]


def validation(model: Model, seed: int, name: str) -> float:
    """Balanced accuracy on all sites' validation images, mean over the model's parts."""
    data = dataset(name)
    return float(
        np.mean(
            [
                point_scores(data.task, probs, data.val.labels)["balanced_accuracy"]
                for probs in model(seed, name, "val")
            ]
        )
    )


def searched(make: Callable[[float], Model]) -> Model:
    """The model of the strength that is best on validation."""

    @cache
    def best(seed: int, name: str) -> float:
        return max(STRENGTHS, key=lambda value: validation(make(value), seed, name))

    return lambda seed, name, split: make(best(seed, name))(seed, name, split)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    method: str
    uses_data: bool
    model: Model
    note: str = ""


SITES_ALONE = "mean site model"
POOLED = "pooled brick (ceiling)"


def lines() -> list[Line]:
    """The table's lines."""
    passes = "three passes per image and three bricks to keep"
    rounds = "each site refits its head beside the others' published bricks first"
    together = "all images in one place, what medlego exists to avoid"
    return [
        Line("linear probes, mean site", False, site_probes),
        Line("linear probe, pooled images", True, pooled_probe, together),
        Line(SITES_ALONE, False, sites_alone),
        Line("ensemble of the site models", False, ensemble, passes),
        Line("merged, by training counts (default)", False, Merge()),
        Line("merged, equal weights", False, Merge("equal")),
        Line("merged, heads refitted among the sites", False, Merge(kind="refit"), rounds),
        Line("merged, best on val", True, searched(partial(Merge, "auto"))),
        *(
            Line(
                f"{method} over sites, strength best on val", True, searched(partial(Apart, method))
            )
            for method in APART
        ),
        Line(POOLED, True, pooled, together),
    ]


def draw(line: Line, name: str, seeds: Sequence[int]) -> Replicates:
    """Test balanced accuracy and its replicates, mean over seeds and parts."""
    data = dataset(name)
    scores = [
        score_replicates(
            Sample(data.task, probs, data.test.labels), resamples=RESAMPLES, seed=BOOTSTRAP_SEED
        )["balanced_accuracy"]
        for seed in seeds
        for probs in line.model(seed, name, "test")
    ]
    return Replicates.mean(scores)


def validated(seeds: Sequence[int], workers: int) -> None:
    """Print every line's validation score by seed; the test splits stay unread."""
    pairs = [(line, name) for line in lines() for name in SHARED_OUT]

    def score(pair: tuple[Line, str]) -> list[float]:
        return [validation(pair[0].model, seed, pair[1]) for seed in seeds]

    for (line, name), scores in zip(pairs, in_processes(score, pairs, workers), strict=True):
        shown = " ".join(f"{score:.3f}" for score in scores)
        print(f"{np.mean(scores):.3f} ({shown}) {name}: {line.method}", flush=True)


def run(seeds: list[int], workers: int) -> None:
    """Choose on the validation splits, evaluate every line on test and write the result."""
    validated(seeds, workers)
    rows = []
    pairs = [(line, name) for line in lines() for name in SHARED_OUT]
    scores = in_processes(lambda pair: draw(*pair, seeds), pairs, workers)
    drawn = {(line.method, n): draws for (line, n), draws in zip(pairs, scores, strict=True)}
    for line in lines():
        row: dict[str, Any] = {"method": line.method, "uses_data": line.uses_data}
        row["note"] = line.note
        row["sets"] = {
            name: {
                "balanced_accuracy": summary(drawn[line.method, name]),
                "minus_site_models": summary(drawn[line.method, name] - drawn[SITES_ALONE, name]),
                "over_pooled": summary(drawn[line.method, name] / drawn[POOLED, name]),
            }
            for name in SHARED_OUT
        }
        rows.append(row)
    write_result(
        f"in_domain-{SIZE}px",
        rows,
        seeds=seeds,
        **facts(SIZE, SHARED_OUT),
        setting={"sites": COUNT, "skew": SKEW, "least": LEAST, "strengths": STRENGTHS},
        bricks={
            f"{brick.task.name}@{site} seed {seed}": brick.digest
            for name in SHARED_OUT
            for seed in seeds
            for site, brick in enumerate(bricks(name, seed))
        },
    )


def main() -> None:
    """Parse, train what is missing, evaluate."""
    options = arguments(__doc__).parse_args()
    jobs = [(name, "svd", seed, SIZE) for seed in options.seeds for name in SHARED_OUT]
    train_all([*jobs, *site_jobs(options.seeds, SIZE)], options.workers)
    if options.only_val:
        validated(options.seeds, options.workers)
    else:
        run(options.seeds, options.workers)


if __name__ == "__main__":
    main()
