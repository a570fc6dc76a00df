"""A generalist and images for jobs over many images: small, seeded, on the embedded mini base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image as Pillow

from factories import make_brick, with_calibration
from medlego.base import Base, Inputs
from medlego.bricks import Brick, fit_profile
from medlego.data.samples import FileImages
from medlego.generalist import assemble
from medlego.train.profiles import measure_features


def write_image(path: Path, seed: int, *, low: int = 0, high: int = 256) -> Path:
    """Noise between two greys, 20 × 24."""
    pixels = np.random.default_rng(seed).integers(low, high, (20, 24), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path)
    return path


def write_images(folder: Path, count: int) -> list[Path]:
    """So many images with names in order, seeded."""
    return [write_image(folder / f"{number:03d}.png", number) for number in range(count)]


def save_merged(place: Path, seed: int = 0) -> Path:
    """A generalist of all kinds of tasks without profiles: every task answers every image."""
    base = Base.load("mini")
    kinds = ("multiclass", "binary", "multilabel", "ordinal")
    bricks = [make_brick(kind, seed + n, kind=kind, base=base) for n, kind in enumerate(kinds)]
    assemble(bricks).save(place)
    return place


def save_routed(place: Path, folder: Path) -> Path:
    """A generalist of a dark and a bright task that know their images, calibrated.

    Training images are written to `folder`, which must be empty.
    """
    base = Base.load("mini")
    dark = _brick("dark", "binary", base, folder, 0, 120)
    bright = _brick("bright", "multilabel", base, folder, 140, 256)
    assemble([dark, bright], mode="routed").save(place)
    return place


def _brick(name: str, kind: str, base: Base, folder: Path, low: int, high: int) -> Brick:
    paths = tuple(
        write_image(folder / name / f"{n}.png", 100 + n, low=low, high=high) for n in range(60)
    )
    brick = make_brick(name, kind=kind, base=base, stem=1)
    profile = fit_profile(measure_features(base, Inputs(FileImages(paths), base)))
    return with_calibration(replace(brick, profile=profile))


def same_answers(actual: pl.DataFrame, expected: pl.DataFrame, atol: float) -> None:
    """Two tables alike in every cell, numbers within `atol`."""
    for frame in (actual, expected):
        assert frame.columns == expected.columns
    assert len(actual) == len(expected)
    for a, b in zip(actual.iter_rows(named=True), expected.iter_rows(named=True), strict=True):
        same_values(a, b, atol)


def same_values(actual: Any, expected: Any, atol: float) -> None:
    """Two cells or rows alike, numbers within `atol`."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            same_values(actual[key], expected[key], atol)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            same_values(a, b, atol)
    elif isinstance(expected, float):
        assert abs(actual - expected) <= atol
    else:
        assert actual == expected
