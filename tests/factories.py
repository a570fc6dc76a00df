"""Small bases, bricks and data sets for tests: seeded, quick, without pretrained weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from medlego.base import DEFAULT_KINDS, Base, Inputs
from medlego.bricks import Brick, Card, Gram, Head, LowRank, fit_profile
from medlego.data import SPLITS, ArrayImages, Dataset, Samples, Task
from medlego.images import Image, from_array
from medlego.metrics import Calibration, LogitMap, OperatingPoint
from medlego.train.profiles import measure_features

TIMM_NAME = "test_vit"
"""timm's smallest vision transformer: 160 px, patch 16, width 64, 6 blocks."""


@cache
def make_base(
    seed: int = 0, *, image_size: int = 16, width: int = 24, depth: int = 2, name: str = "tiny"
) -> Base:
    """A random vision transformer of patch 8 with 2 heads; its name is not one of timm's.

    The same object for the same arguments: nothing changes a base.
    """
    from timm.models.vision_transformer import VisionTransformer

    module = VisionTransformer(
        img_size=image_size,
        patch_size=8,
        embed_dim=width,
        depth=depth,
        num_heads=2,
        num_classes=0,
        weight_init="skip",
    )
    module.load_state_dict(random_like(module.state_dict(), seed))
    facts = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "licence": "CC0-1.0"}
    return Base.of(name, module, facts)


def random_like(tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Values of a scale at which a transformer answers differently to different images."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.2 * torch.randn(tensor.shape, generator=generator)
        + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        for name, tensor in tensors.items()
    }


def save_weights(
    path: Path, seed: int = 0, *, name: str = TIMM_NAME, dtype: torch.dtype = torch.float32
) -> Path:
    """Random weights of a timm architecture, for `Base.load(TIMM_NAME, weights=path)`."""
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=0)
    save_file({k: v.to(dtype) for k, v in random_like(model.state_dict(), seed).items()}, path)
    return path


def make_task(name: str = "task", kind: str = "multiclass", count: int = 0) -> Task:
    """A task with labels `label-0` …; two for binary tasks and three for others by default."""
    count = count or (2 if kind == "binary" else 3)
    return Task(name=name, kind=kind, labels=tuple(f"label-{i}" for i in range(count)))


def make_delta(shape: tuple[int, int], rank: int, generator: torch.Generator) -> LowRank:
    """A random canonical delta; its singular values lie near 1 and below."""
    out, columns = shape
    B = torch.randn(out, rank, generator=generator)
    A = torch.randn(rank, columns, generator=generator)
    return LowRank.from_factors(B, A, scale=(out * columns) ** -0.5)


def make_brick(
    name: str = "task",
    seed: int = 0,
    rank: int = 2,
    kind: str = "multiclass",
    base: Base | None = None,
    *,
    count: int = 0,
    targets: Iterable[str] = DEFAULT_KINDS,
    stem: int = 0,
) -> Brick:
    """A brick of random deltas and a random head on `base`, or on `make_base()`."""
    base = base or make_base()
    generator = torch.Generator().manual_seed(seed)
    task = make_task(name, kind, count)
    chosen = base.targets(targets, stem)
    rows, outputs = task.head_shape
    bias = torch.randn(outputs, generator=generator)
    return Brick(
        base=base.ref,
        task=task,
        targets=chosen,
        deltas={t.name: make_delta(t.shape, rank, generator) for t in chosen},
        head=Head(
            torch.randn(rows, base.ref.features, generator=generator),
            bias.sort(descending=True).values if task.rules.falling_bias else bias,
        ),
        settings={"rank": rank, "seed": seed},
        card=Card(data="random numbers"),
    )


def make_bricks(names: Iterable[str], base: Base, *, of_kinds: bool = False) -> list[Brick]:
    """One brick a name, with seeds from 0 on; with `of_kinds` the names are kinds of task."""
    return [
        make_brick(name, seed, kind=name if of_kinds else "multiclass", base=base)
        for seed, name in enumerate(names)
    ]


def make_gram(width: int, directions: int, seed: int = 0) -> Gram:
    """The Gram of random inputs, one of which is always one."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
    inputs[:, 0] = 1
    return Gram.of(inputs.mT @ inputs / len(inputs), directions, images=50)


def with_grams(brick: Brick, directions: int = 4, seed: int = 0) -> Brick:
    """The same brick with a Gram for each adapted module."""
    widths = {target.module: target.in_features for target in brick.targets}
    grams = {m: make_gram(w, directions, seed + i) for i, (m, w) in enumerate(widths.items())}
    return replace(brick, grams=grams)


def scaled(brick: Brick, factor: float) -> Brick:
    """The same brick with every delta `factor` times as large, `factor` not negative."""
    deltas = {n: replace(delta, S=delta.S * factor) for n, delta in brick.deltas.items()}
    return replace(brick, deltas=deltas)


class Unreadable:
    """Images that must not be looked at."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Image:
        raise AssertionError(f"image {index} was read")


def shut_test(dataset: Dataset) -> Dataset:
    """The same with a test split that must not be looked at; of a binary task."""
    return replace(dataset, test=Samples(Unreadable(), np.array([0, 1, 0])))


def make_dataset(
    name: str = "task",
    seed: int = 0,
    kind: str = "multiclass",
    *,
    images: int = 12,
    size: int = 16,
    count: int = 0,
) -> Dataset:
    """Noise whose brightness tells the label (of a multilabel task: how many labels hold)."""
    task = make_task(name, kind, count)
    generator = np.random.default_rng(seed)
    width, many = len(task.labels), not task.rules.exclusive
    parts: dict[str, Any] = {}
    for split in SPLITS:
        levels = generator.permutation(np.arange(images) % (width + many))
        bright = 40 + levels[:, None, None] * (160 // width)
        pixels = bright + generator.integers(-20, 20, (images, size, size))
        truth = levels[:, None] > np.arange(width) if many else levels
        parts[split] = Samples(
            ArrayImages(pixels.astype(np.uint8)), truth.astype(np.float32 if many else np.int64)
        )
    return Dataset(task, **parts)


def make_pixels(count: int, *, size: int = 16, seed: int = 0) -> Tensor:
    """Noise in [0, 1), (count, 3, size, size)."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def make_images(count: int, seed: int = 0, shape: tuple[int, int] = (16, 16)) -> list[Image]:
    """Grey noise."""
    generator = np.random.default_rng(seed)
    return [from_array(generator.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def make_features(width: int, center: float = 0.0, *, images: int = 64, seed: int = 0) -> Tensor:
    """Stem features of a made-up task, (images, width): correlated, of different scales."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width)) * np.linspace(0.01, 3, width)
    drawn = center + generator.normal(size=(images, width)) @ mixing
    return torch.from_numpy(drawn.astype(np.float32))


def with_calibration(brick: Brick, operating: OperatingPoint | None = None) -> Brick:
    """The same brick with a made-up calibration: steep, and shifted where labels stand alone."""
    warm = LogitMap(method="temperature", slope=0.5, x=(0.0,), y=(0.0,))
    shift = LogitMap(method="platt", slope=2.0, x=(0.0,), y=(1.0,))
    none = LogitMap(method="none", slope=1.0, x=(0.0,), y=(0.0,))
    maps = {"multilabel": (shift, none, shift), "binary": (shift,)}
    calibration = Calibration(
        images=50,
        maps=maps.get(brick.task.kind, (warm,)),
        loss_before=1.0,
        loss_after=0.5,
        operating=operating,
    )
    return replace(brick, calibration=calibration)


def with_profile(brick: Brick, center: float = 0.0, seed: int = 0, images: int = 64) -> Brick:
    """The same brick with a profile of `make_features` around a center."""
    features = make_features(2 * brick.base.features, center, images=images, seed=seed)
    return replace(brick, profile=fit_profile(features))


def with_measured_profile(brick: Brick, base: Base, dataset: Dataset) -> Brick:
    """The same brick with the profile that training on a data set would give it."""
    features = measure_features(base, Inputs(dataset.train.images, base))
    return replace(brick, profile=fit_profile(features))
