"""The models of `benchmarks.merge_quality`: merges of every kind of bricks, and the controls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from benchmarks.bricks import get_brick
from benchmarks.common import CACHE, SETS, base, dataset, key
from benchmarks.peft_merge import peft_merge
from benchmarks.scoring import Probs, cached_features, inputs, read
from medlego.base import embed, family_of, through
from medlego.bricks import Brick, Head, fold, load_brick, save_brick
from medlego.evaluation.probes import fit_probe
from medlego.generalist import assemble, default_slope, specialist
from medlego.merge import AUTO, METHODS
from medlego.train.grams import measure_grams
from medlego.train.head_fit import choose_head

SIZE = 112
GRAM_DIRECTIONS = 32
KINDS = {
    "svd": "plain training",
    "refit": "plain training, heads refitted for the merge",
    "aware": "merge-aware training",
    "aware-refit": "merge-aware training, heads refitted for the merge",
}
"""Kinds of bricks and the heading of their merges; the last one is what the default gets."""
SAME_DELTAS = {"refit": "svd", "aware-refit": "aware"}
"""Kinds that differ from another in their heads only: they share its features."""


@cache
def bricks(kind: str, seed: int) -> dict[str, Brick]:
    """The five bricks of a seed."""
    return {name: get_brick(name, kind, seed, SIZE) for name in SETS}


@cache
def with_grams(kind: str, seed: int) -> dict[str, Brick]:
    """The same, with the Grams that `medlego train --gram` would have measured."""
    return {name: _with_grams(name, brick) for name, brick in bricks(kind, seed).items()}


def _with_grams(name: str, brick: Brick) -> Brick:
    path = CACHE / "grams" / f"{key(brick.digest, GRAM_DIRECTIONS)}.brick.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            images = inputs(name, "train", SIZE)
            grams = measure_grams(base(SIZE), brick, images, GRAM_DIRECTIONS)
            save_brick(replace(brick, grams=grams), path)
    return load_brick(path)


@dataclass(frozen=True)
class Merge:
    """One merged model per seed, with the heads of the bricks that are in it."""

    kind: str
    method: str
    coefficients: Any
    svc: bool = False
    slope: float | None = None
    """As `assemble` takes it."""

    def features(self, seed: int, name: str, split: str) -> torch.Tensor:
        """Pooled features of a split."""
        kind = SAME_DELTAS.get(self.kind, self.kind)
        rule, slope = self.coefficients, self.slope or 0.0
        if rule == AUTO:
            rule = METHODS[self.method].auto
            if self.slope is None:
                slope = default_slope(self.method, list(bricks(self.kind, seed).values()))
        label = f"{kind}-{self.method}-{rule}{'-svc' * self.svc}-seed{seed}"
        label += f"-slope{slope:g}" if slope else ""
        identity = [label, [b.digest for b in bricks(kind, seed).values()]]
        build = partial(self.build, kind, seed, slope)
        return cached_features(label, identity, build, name, split, SIZE)

    def build(self, kind: str, seed: int, slope: float) -> nn.Module:
        """The merged module."""
        members = bricks(kind, seed)
        if self.method.startswith("PEFT "):
            merged = peft_merge(
                list(members.values()),
                self.method.removeprefix("PEFT "),
                self.coefficients,
                seed=seed,
            )
            targets = next(iter(members.values())).targets
            return fold(base(SIZE).module, targets, merged)  # type: ignore[arg-type]
        if METHODS[self.method].needs_grams:
            members = with_grams(kind, seed)
        return assemble(
            list(members.values()),
            self.method,
            coefficients=self.coefficients,
            svc=self.svc,
            slope=slope,
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
    return cached_features("frozen", "frozen", lambda: base(SIZE).module, name, split, SIZE)


def alone(kind: str) -> Probs:
    """Each set with its own brick."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        brick = bricks(kind, seed)[name]
        return read(brick.task, brick.head, alone_features(kind, seed, name, split))

    return probs


def alone_features(kind: str, seed: int, name: str, split: str) -> torch.Tensor:
    """Pooled features of a split by its own brick."""
    deltas = SAME_DELTAS.get(kind, kind)
    source = bricks(deltas, seed)[name]
    build = partial(specialist(source).fold, base(SIZE))
    return cached_features(f"{deltas}-alone", source.digest, build, name, split, SIZE)


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


def mid_probe(_seed: int, name: str, split: str) -> np.ndarray:
    """A linear probe on the frozen base's mean patch tokens after its sixth block."""
    module = base(SIZE).module

    def pooled(part: str) -> np.ndarray:
        return cached_features(
            "mid6", "mid6", lambda: module, name, part, SIZE, mid_features
        ).numpy()

    data = dataset(name)
    pairs = [(pooled(s), data.split(s).labels) for s in ("train", "val")]
    if (fitted := _PROBES.get(f"mid {name}")) is None:
        fitted = _PROBES[f"mid {name}"] = fit_probe(data.task, *pairs)
    probs: np.ndarray = fitted.probs(pooled(split))
    return probs


def mid_features(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """A vision transformer read after its sixth block: mean of the patch tokens."""
    tokens = through(module, embed(module, pixels), 0, 6)
    return tokens[:, family_of(module).dimensions(module).prefix :].mean(dim=1)
