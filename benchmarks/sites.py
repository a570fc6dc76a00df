"""One real set shared out over three sites with skewed labels, as hospitals would hold it."""

from __future__ import annotations

import numpy as np

from benchmarks.common import dataset
from medlego.data import Dataset

COUNT = 3
SKEW = 0.5
"""Dirichlet parameter of the sites' shares in a label; smaller is more skewed."""
LEAST = 0.05
"""Share of each label that a site has at least."""
SIGN = "@"


def is_site(name: str) -> bool:
    """Whether the name is one site's part of a set."""
    return SIGN in name


def site_names(name: str) -> list[str]:
    """`ham_derm` → `ham_derm@0`, …"""
    return [f"{name}{SIGN}{site}" for site in range(COUNT)]


def whole_name(name: str) -> str:
    """`ham_derm@0` → `ham_derm`."""
    return name.partition(SIGN)[0]


def part(name: str, seed: int) -> Dataset:
    """A site's images: its shares of train and val; test is everybody's."""
    whole = dataset(whole_name(name))
    parts = {split: whole.split(split).take(rows) for split, rows in site_rows(name, seed).items()}
    return Dataset.of(whole.task, {**parts, "test": whole.test}, whole.notes)


def site_rows(name: str, seed: int) -> dict[str, np.ndarray]:
    """Which images of train and val a site holds, sorted; the seed decides.

    Shares are drawn per label, the same for train and val, so that a site validates on images
    like those it trains on.
    """
    whole, site = dataset(whole_name(name)), int(name.partition(SIGN)[2])
    generator = np.random.default_rng([seed, len(whole.train)])
    labels = len(whole.task.labels)
    shares = LEAST + (1 - COUNT * LEAST) * generator.dirichlet([SKEW] * COUNT, size=labels)
    return {
        split: _deal(whole.split(split).labels, shares, generator)[site]
        for split in ("train", "val")
    }


def _deal(
    labels: np.ndarray, shares: np.ndarray, generator: np.random.Generator
) -> list[np.ndarray]:
    """Every site's images; each has at least one of each label."""
    chosen: list[list[int]] = [[] for _ in range(COUNT)]
    for label, share in enumerate(shares):
        rows = generator.permutation(np.flatnonzero(labels == label))
        counts = np.maximum(1, np.floor(share * len(rows)).astype(int))
        counts[np.argmax(share)] += len(rows) - counts.sum()
        for site, dealt in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
            chosen[site] += dealt.tolist()
    return [np.array(sorted(rows)) for rows in chosen]
