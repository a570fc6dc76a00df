"""Every way of merging the five real specialists in one table, beside controls and ceilings.

    python -m benchmarks.merge_quality [--seeds 0 1 2] [--val-only]

Bricks come from `benchmarks.bricks`. Searched λ are the best of `LAMBDAS` on the validation
splits; the test splits are read once, for the table. The divisor of every normalised score is
the plainly trained specialist.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.bricks import get_brick, train_all
from benchmarks.common import BASE_FILE, SETS, SHARED, base, dataset, write_result
from benchmarks.peft_merge import peft_merge
from benchmarks.scoring import (
    BOOTSTRAP_SEED,
    Contender,
    Probs,
    balanced_accuracy,
    cached_features,
    draw,
    inputs,
    make_row,
    read,
)
from medlego.adapters import fold
from medlego.brick import Brick, Head
from medlego.generalist import assemble, bare_base, specialist
from medlego.headfit import choose_head
from medlego.merge import METHODS, RULES
from medlego.merge.coefficients import AUTO
from medlego.merge.ties import DENSITY
from medlego.metrics import RESAMPLES
from medlego.probes import fit_probe
from medlego.train.grams import measure_grams

SIZE = 112
LAMBDAS = (0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
KINDS = {
    "svd": "plain training",
    "refit": "plain training, heads refitted in company",
    "aware": "merge-aware training",
    "aware-refit": "merge-aware training, heads refitted in company",
}
"""Kinds of bricks and the heading of their merges; the last one is what the default gets."""
SAME_DELTAS = {"refit": "svd", "aware-refit": "aware"}
"""Kinds that differ from another in their heads only: they share its features."""
PEFT_KINDS = ("linear", "svd", "ties_svd", "dare_ties_svd")
GRAM_DIRECTIONS = 32
PLAIN = "specialists, plain"
SEARCHED = "best λ on val"


@cache
def bricks(kind: str, seed: int) -> dict[str, Brick]:
    """The five bricks of a seed."""
    return {name: get_brick(name, kind, seed, SIZE) for name in SETS}


@cache
def with_grams(kind: str, seed: int) -> dict[str, Brick]:
    """The same, with the Grams that `medlego train --gram` would have measured."""
    return {
        name: replace(
            brick,
            grams=measure_grams(base(SIZE), brick, inputs(name, "train", SIZE), GRAM_DIRECTIONS),
        )
        for name, brick in bricks(kind, seed).items()
    }


@dataclass(frozen=True)
class Merge:
    """One merged model per seed, with the heads of the bricks that are in it."""

    kind: str
    method: str
    coefficients: Any
    svc: bool = False

    def features(self, seed: int, name: str, split: str) -> torch.Tensor:
        """Pooled features of a split."""
        kind = SAME_DELTAS.get(self.kind, self.kind)
        rule = METHODS[self.method].auto if self.coefficients == AUTO else self.coefficients
        label = f"{kind}-{self.method}-{rule}{'-svc' * self.svc}-seed{seed}"
        identity = [label, [b.digest for b in bricks(kind, seed).values()]]
        return cached_features(label, identity, partial(self.build, kind, seed), name, split, SIZE)

    def build(self, kind: str, seed: int) -> nn.Module:
        """The merged module."""
        held = bricks(kind, seed)
        if self.method.startswith("PEFT "):
            merged = peft_merge(
                list(held.values()), self.method.removeprefix("PEFT "), self.coefficients, seed=seed
            )
            targets = next(iter(held.values())).targets
            return fold(base(SIZE).module, targets, merged)  # type: ignore[arg-type]
        if METHODS[self.method].needs_grams:
            held = with_grams(kind, seed)
        return assemble(
            list(held.values()),
            self.method,
            coefficients=self.coefficients,
            svc=self.svc,
            seed=seed,
        ).fold(base(SIZE))

    def probs(self, seed: int, name: str, split: str) -> np.ndarray:
        """Read by the brick's own head."""
        brick = bricks(self.kind, seed)[name]
        return read(brick.task, brick.head, self.features(seed, name, split))

    def refitted(self, seed: int, name: str, split: str) -> np.ndarray:
        """Read by a head that a head round brings back."""
        task = dataset(name).task
        return read(task, self._refit(seed, name), self.features(seed, name, split))

    @cache  # noqa: B019
    def _refit(self, seed: int, name: str) -> Head:
        data = dataset(name)
        train, val = (
            (self.features(seed, name, split), data.split(split).labels)
            for split in ("train", "val")
        )
        return choose_head(data.task, train, [val]).head


@cache
def frozen(name: str, split: str) -> torch.Tensor:
    """Features of the untouched base."""
    brick = next(iter(bricks("svd", 0).values()))
    return cached_features(
        "frozen", "frozen", partial(bare_base(brick).fold, base(SIZE)), name, split, SIZE
    )


def alone(kind: str) -> Probs:
    """Each set with its own brick."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        brick, deltas = bricks(kind, seed)[name], SAME_DELTAS.get(kind, kind)
        source = bricks(deltas, seed)[name]
        build = partial(specialist(source).fold, base(SIZE))
        pooled = cached_features(f"{deltas}-alone", source.digest, build, name, split, SIZE)
        return read(brick.task, brick.head, pooled)

    return probs


def bare(kind: str) -> Probs:
    """The specialists' heads on the untouched base."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        brick = bricks(kind, seed)[name]
        return read(brick.task, brick.head, frozen(name, split))

    return probs


def probe(_seed: int, name: str, split: str) -> np.ndarray:
    """A linear probe on the frozen base, its strength chosen on val."""
    data = dataset(name)
    pairs = [(frozen(name, s).numpy(), data.split(s).labels) for s in ("train", "val")]
    return _fitted_probe(name, *pairs).probs(frozen(name, split).numpy())


_PROBES: dict[str, Any] = {}


def _fitted_probe(name: str, train: Any, val: Any) -> Any:
    if name not in _PROBES:
        _PROBES[name] = fit_probe(dataset(name).task, train, val)
    return _PROBES[name]


def normalised(probs: Probs, seed: int) -> float:
    """Mean normalised balanced accuracy on validation."""
    return float(
        np.mean(
            [
                balanced_accuracy(probs, seed, name, "val")
                / balanced_accuracy(alone("svd"), seed, name, "val")
                for name in SETS
            ]
        )
    )


@cache
def best_lambda(kind: str, method: str, seed: int) -> float:
    """The λ of `LAMBDAS` with the best mean normalised balanced accuracy on val."""
    found = {value: normalised(Merge(kind, method, value).probs, seed) for value in LAMBDAS}
    best = max(found, key=lambda value: found[value])
    shown = ", ".join(f"{value}: {score:.3f}" for value, score in found.items())
    print(f"  {kind}, {method}, seed {seed}: λ = {best} of {shown}", flush=True)
    return best


def searched(kind: str, method: str) -> Probs:
    """A merge with the λ that is best on validation."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        return Merge(kind, method, best_lambda(kind, method, seed)).probs(seed, name, split)

    return probs


def mid_probe(_seed: int, name: str, split: str) -> np.ndarray:
    """A linear probe on the frozen base's mean patch tokens after its sixth block."""
    module = base(SIZE).module

    def build() -> nn.Module:
        return MidDepth(module, 6)

    def pooled(part: str) -> np.ndarray:
        return cached_features("mid6", "mid6", build, name, part, SIZE).numpy()

    data = dataset(name)
    pairs = [(pooled(s), data.split(s).labels) for s in ("train", "val")]
    if (fitted := _PROBES.get(f"mid {name}")) is None:
        fitted = _PROBES[f"mid {name}"] = fit_probe(data.task, *pairs)
    found: np.ndarray = fitted.probs(pooled(split))
    return found


class MidDepth(nn.Module):
    """A vision transformer read after some of its blocks: mean of the patch tokens."""

    def __init__(self, module: Any, blocks: int) -> None:
        super().__init__()
        self._module, self._blocks = module, blocks

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, size, size) → (N, tokens, features)."""
        module = self._module
        found = module.norm_pre(module._pos_embed(module.patch_embed(pixels)))
        for block in module.blocks[: self._blocks]:
            found = block(found)
        return found

    def forward_head(self, tokens: torch.Tensor, **_: bool) -> torch.Tensor:
        """(N, tokens, features) → (N, features)."""
        return tokens[:, self._module.num_prefix_tokens :].mean(dim=1)


def contenders(kinds: tuple[str, ...], every: tuple[int, ...]) -> list[Contender]:
    """The table's lines."""
    lines = controls(kinds, every)
    for kind in kinds:
        lines += [replace(line, group=KINDS[kind]) for line in merges(kind, every, kinds[-1])]
    for peft_kind in PEFT_KINDS:
        method, mean = f"PEFT {peft_kind}", 1 / len(SETS)
        found = [
            Contender(method, "1/K", False, Merge("svd", method, mean).probs, every),
            Contender(method, SEARCHED, True, searched("svd", method), every),
        ]
        lines += [replace(line, group="PEFT, plain training") for line in found]
    return lines


def controls(kinds: tuple[str, ...], every: tuple[int, ...]) -> list[Contender]:
    """What a merge has to be measured against."""
    first = every[:1]
    lines = [
        Contender("linear probes on the frozen base", "-", False, probe, first),
        Contender("linear probes, patch tokens after block 6", "-", False, mid_probe, first),
        Contender("base with the specialists' heads", "-", False, bare("svd"), every),
        Contender(PLAIN, "-", False, alone("svd"), every),
    ]
    lines += [
        Contender(
            f"specialists, {KINDS[kind].replace(' training', '')}", "-", False, alone(kind), every
        )
        for kind in kinds
        if kind != "svd"
    ]
    note = "all images in one place, what medlego exists to avoid"
    lines.append(Contender("joint training (ceiling)", "-", True, alone("joint"), first, note=note))
    return [replace(line, group="controls") for line in lines]


def merges(kind: str, every: tuple[int, ...], default: str) -> list[Contender]:
    """Every merge of one kind of bricks; of plain bricks with new heads only the linear ones."""
    lines = []
    for method in METHODS if kind != "refit" else ("linear",):
        auto = Merge(kind, method, AUTO).probs
        chosen = (kind, method) == (default, "linear")
        lines.append(Contender(method, AUTO, False, auto, every, chosen))
        lines.append(Contender(method, SEARCHED, True, searched(kind, method), every))
    for method, auto in ((m, METHODS[m].auto) for m in ("linear", "core-ties", "iso-cts")):
        if kind == "refit" and method != "linear":
            continue
        for rule in (name for name in RULES if name != auto):
            lines.append(Contender(method, rule, False, Merge(kind, method, rule).probs, every))
    if kind != "refit":
        svc = Merge(kind, "linear", AUTO, svc=True).probs
        lines.append(Contender("linear, then svc", AUTO, False, svc, every))
    if kind not in SAME_DELTAS:
        lines += [
            Contender(f"{m}, head round", AUTO, True, Merge(kind, m, AUTO).refitted, every)
            for m in ("linear", "tsv")
        ]
    return lines


def show_validation(lines: list[Contender]) -> None:
    """Print every line's normalised validation score by seed; the test splits stay unread."""
    for line in lines:
        scores = [normalised(line.probs, seed) for seed in line.seeds]
        shown = " ".join(f"{score:.3f}" for score in scores)
        print(f"{np.mean(scores):.3f} ({shown}) {line.method}, {line.coefficients}, {line.group}")


def run(kinds: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Evaluate every line on the test splits and write the result."""
    lines = contenders(kinds, seeds)
    drawn = {}
    for number, line in enumerate(lines):
        print(f"line {number + 1} of {len(lines)}: {line.method}, {line.coefficients}", flush=True)
        drawn[id(line)] = draw(line)
    (plain,) = (line for line in lines if line.method == PLAIN)
    (default,) = (line for line in lines if line.default)
    rows = [
        make_row(
            line,
            drawn[id(line)],
            drawn[id(plain)],
            drawn[id(lines[0])][seeds[0]],
            drawn[id(default)],
        )
        for line in lines
    ]
    for line, row in zip(lines, rows, strict=True):
        if line.coefficients == SEARCHED:
            kind = next((kind for kind in kinds if KINDS[kind] == line.group), "svd")
            row["lambda"] = {str(seed): best_lambda(kind, line.method, seed) for seed in seeds}
    write_result(
        f"merge_quality-{SIZE}px",
        rows,
        seeds=list(seeds),
        data=[BASE_FILE, *(SHARED / "data" / f"{name}.npz" for name in SETS)],
        base=base(SIZE).ref.model_dump(mode="json"),
        bootstrap={"resamples": RESAMPLES, "seed": BOOTSTRAP_SEED, "level": 0.95},
        versions={"peft": version("peft")},
        setting={
            "lambdas": LAMBDAS,
            "auto": {name: method.auto for name, method in METHODS.items()},
            "gram_directions": GRAM_DIRECTIONS,
            "peft_density": DENSITY,
        },
        bricks={
            f"{name} {kind} seed {seed}": brick.digest
            for kind in kinds
            for seed in seeds
            for name, brick in bricks(kind, seed).items()
        },
    )


def main() -> None:
    """Parse, train what is missing, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-val", action="store_true", help="print validation scores, no test")
    given = parser.parse_args()
    kinds, seeds = tuple(given.kinds), tuple(given.seeds)
    jobs = [(name, kind, seed, SIZE) for kind in kinds for seed in seeds for name in SETS]
    train_all([*jobs, (next(iter(SETS)), "joint", seeds[0], SIZE)], given.workers)
    if given.only_val:
        show_validation(contenders(kinds, seeds))
    else:
        run(kinds, seeds)


if __name__ == "__main__":
    main()
