"""Where in the frozen base do tasks, and images of no task, show? Fifteen sets, two bases.

    python -m benchmarks.depths

For the redesign of profiles: nothing here is the product's yet. Each statistic is one vector an
image after some block: the mean of the patch tokens, their deviation, or the class token, each
token normalised first. A task keeps a Gaussian for each (covariance shrunk by Ledoit and Wolf);
several statistics add their z of log d². Which task: the nearest mean in the covariance that all
tasks share. The test split is not read; val stands for new images, and distances that set a task's
limit come from folds by patient.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.common import CACHE, file_digest, key, write_result
from benchmarks.fifteen import BASES, FIFTEEN, SIZE, base_of, data_file, split_of
from medlego.base import Inputs, embed, family_of, through
from medlego.metrics.bootstrap import patient_numbers
from medlego.support import one_thread

BLOCKS = (1, 2, 3, 4, 6, 9, 12)
FOLDS, LEVEL = 20, 0.96
"""Of own held-out images this share lies within a task's limit."""
NAMED_BY = ("patches 3", "patches 4", "patches 6", "class 6", "patches 3 + class 6")
JUDGED_BY = (
    *(f"{kind} {block}" for block in BLOCKS for kind in ("patches", "deviation", "class")),
    "patches 2 + patches 3",
    "patches 3 + class 3",
    "patches 3 + class 4",
    "patches 3 + class 6",
    "patches 4 + class 6",
    "patches 6 + class 6",
    "patches 3 + patches 6 + class 6",
    "patches 1 + patches 2 + patches 3 + patches 6 + patches 9",
)
NAMER = "patches 3 + class 6"
"""Names the task in rows of strangers."""
ALONE = tuple(name for name, kind in FIFTEEN.items() if list(FIFTEEN.values()).count(kind) == 1)
"""Sets of whose modality and body part there is no other: far strangers where they are left out."""


@dataclass(frozen=True)
class Split:
    """Statistics by name, (N, width), and whose images they are, (N,)."""

    features: dict[str, Tensor]
    patients: np.ndarray

    def of(self, names: str) -> Tensor:
        """Several side by side."""
        return torch.cat([self.features[name] for name in names.split(" + ")], dim=1).double()


@cache
def split(base: str, name: str, part: str) -> Split:
    """A set's train or val split, from the cache where it was measured before."""
    samples = split_of(name, part)
    decided = key(file_digest(BASES[base][1]), file_digest(data_file(name)), SIZE, BLOCKS)
    path = CACHE / "depths" / f"{base}-{name}-{part}-{decided}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            np.savez(path, **_measure(base, Inputs(samples.images, base_of(base))))  # type: ignore[arg-type]
    with np.load(path) as kept:
        features = {one: torch.from_numpy(kept[one]) for one in kept.files}
    return Split(features, patient_numbers(len(samples), samples.patients))


@torch.inference_mode()
def _measure(base: str, inputs: Inputs) -> dict[str, np.ndarray]:
    frozen = base_of(base)
    prefix = family_of(frozen.module).dimensions(frozen.module).prefix
    parts: dict[str, list[np.ndarray]] = {}
    for pixels in inputs.batches():
        tokens, done = embed(frozen.module, frozen.normalise(pixels)), 0
        for block in BLOCKS:
            tokens, done = through(frozen.module, tokens, done, block), block
            normed = F.layer_norm(tokens.float(), tokens.shape[-1:])
            deviation, mean = torch.std_mean(normed[:, prefix:], dim=1, correction=0)
            own = {"patches": mean, "deviation": deviation, "class": normed[:, 0]}
            for kind, values in own.items():
                parts.setdefault(f"{kind} {block}", []).append(values.half().numpy())
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


class Gaussian:
    """Of features (N, d); d² of others."""

    def __init__(self, features: Tensor) -> None:
        self._mean, self._scale = features.mean(dim=0), features.std(dim=0, correction=0)
        standard = (features - self._mean) / self._scale
        share = float(ledoit_wolf_shrinkage(standard.numpy(), assume_centered=True))
        correlation = (1 - share) * standard.T @ standard / len(standard)
        correlation.diagonal().add_(share)
        self._factor = torch.linalg.cholesky(correlation)

    def log_distance(self, features: Tensor) -> Tensor:
        """(N, d) → (N,), log d²."""
        standard = ((features - self._mean) / self._scale).T
        solved = torch.linalg.solve_triangular(self._factor, standard, upper=False)
        return solved.square().sum(dim=0).log()


@cache
def judged(base: str, name: str, statistic: str) -> tuple[Tensor, dict[str, Tensor]]:
    """A task's z of its own training images, left out in turn by patient, and of all val images."""
    own = split(base, name, "train")
    features = own.of(statistic)
    number = torch.from_numpy(own.patients)
    shuffled = torch.randperm(int(number.max()) + 1, generator=torch.Generator().manual_seed(0))
    fold, logs = shuffled[number] % FOLDS, torch.empty(len(features), dtype=torch.float64)
    for this in range(FOLDS):
        if (left_out := fold == this).any():
            logs[left_out] = Gaussian(features[~left_out]).log_distance(features[left_out])
    mean, deviation, whole = logs.mean(), logs.std(), Gaussian(features)
    others = {n: whole.log_distance(split(base, n, "val").of(statistic)) for n in FIFTEEN}
    return (logs - mean) / deviation, {n: (z - mean) / deviation for n, z in others.items()}


def scores(base: str, statistics: str) -> dict[str, Tensor]:
    """Of each set's val images (N, tasks): above 0 lies outside a task's limit."""
    columns: dict[str, list[Tensor]] = {name: [] for name in FIFTEEN}
    for task in FIFTEEN:
        parts = [judged(base, task, one) for one in statistics.split(" + ")]
        own = torch.stack([z for z, _ in parts]).sum(dim=0)
        limit, spread = own.quantile(LEVEL), own.std()
        for name, column in columns.items():
            column.append((torch.stack([z[name] for _, z in parts]).sum(dim=0) - limit) / spread)
    return {name: torch.stack(column, dim=1) for name, column in columns.items()}


@cache
def named(base: str, statistic: str) -> dict[str, Tensor]:
    """Of each set's val images d² to every task's mean in the tasks' mean covariance."""
    features = [split(base, name, "train").of(statistic) for name in FIFTEEN]
    shared = torch.stack([x.T.cov(correction=0) for x in features]).mean(dim=0)
    shared += 1e-3 * shared.diagonal().mean() * torch.eye(len(shared))
    factor = torch.linalg.cholesky(torch.linalg.inv(shared))
    means = torch.stack([x.mean(dim=0) for x in features]) @ factor
    return {n: torch.cdist(split(base, n, "val").of(statistic) @ factor, means) for n in FIFTEEN}


def right(base: str, statistic: str) -> dict[str, Any]:
    """How often the nearest task has an image's modality and body part."""
    kinds = list(FIFTEEN.values())
    hits = {
        name: np.array([kinds[i] == FIFTEEN[name] for i in nearest.argmin(dim=1)])
        for name, nearest in named(base, statistic).items()
    }
    sets = {name: round(float(hit.mean()), 4) for name, hit in hits.items()}
    whole = round(float(np.concatenate(list(hits.values())).mean()), 4)
    return {"base": base, "named_by": statistic, "top_1": whole, "sets": sets}


def strangers(base: str, statistics: str) -> dict[str, Any]:
    """Each set left out in turn: do the others' limits refuse it?"""
    tasks, z, nearest = list(FIFTEEN), scores(base, statistics), named(base, NAMER)

    def of_named(name: str, without: str | None) -> np.ndarray:
        others = [i for i, task in enumerate(tasks) if task != without]
        chosen = nearest[name][:, others].argmin(dim=1, keepdim=True)
        return z[name][:, others].gather(1, chosen)[:, 0].numpy()

    sets = {}
    for name in FIFTEEN:
        known = np.concatenate([of_named(n, name) for n in FIFTEEN if n != name])
        unknown = of_named(name, name)
        truth = np.repeat([0, 1], [len(known), len(unknown)])
        sets[name] = {
            "auroc": round(float(roc_auc_score(truth, np.concatenate([known, unknown]))), 4),
            "accepted_at_95": round(float((unknown <= np.quantile(known, 0.95)).mean()), 4),
            "accepted": round(float((unknown <= 0).mean()), 4),
        }
    own = np.concatenate([of_named(name, None) <= 0 for name in FIFTEEN]).mean()
    row: dict[str, Any] = {
        "base": base,
        "judged_by": statistics,
        "own_accepted": round(float(own), 4),
    }
    for which, names in (("far", ALONE), ("near", [n for n in FIFTEEN if n not in ALONE])):
        means = {k: np.mean([sets[n][k] for n in names]) for k in sets[name]}
        row[which] = {k: round(float(mean), 4) for k, mean in means.items()}
        row[which]["least_auroc"] = min(sets[n]["auroc"] for n in names)
    return {**row, "sets": sets}


def main() -> None:
    """Write results/depths.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", nargs="+", choices=BASES, default=list(BASES))
    options = parser.parse_args()
    rows = []
    with one_thread():
        for base in options.bases:
            rows += [right(base, statistic) for statistic in NAMED_BY]
            print(*rows[-len(NAMED_BY) :], sep="\n", flush=True)
            for statistics in JUDGED_BY:
                rows.append(strangers(base, statistics))
                print({k: v for k, v in rows[-1].items() if k != "sets"}, flush=True)
    files = [BASES[base][1] for base in options.bases] + [data_file(name) for name in FIFTEEN]
    write_result("depths", rows, seeds=[0], data=files, split="val", level=LEVEL, folds=FOLDS)


if __name__ == "__main__":
    main()
