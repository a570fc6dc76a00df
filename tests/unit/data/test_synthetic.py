"""Synthetic images: reproducible, complete, and different in the feature that the label names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medlego.data import (
    SPLITS,
    SYNTHETIC_TASKS,
    ArrayImages,
    Dataset,
    synthetic_dataset,
    synthetic_image,
)
from medlego.errors import DatasetError

NAMES = tuple(SYNTHETIC_TASKS)
SEEDS = range(16)


def pixels(dataset: Dataset, split: str) -> np.ndarray:
    images = dataset.split(split).images
    assert isinstance(images, ArrayImages)
    return images.array


def drawn(name: str, label: str, seed: int) -> np.ndarray:
    index = SYNTHETIC_TASKS[name].labels.index(label)
    image = synthetic_image(name, index, size=64, rng=np.random.default_rng(seed))
    return image.astype(np.float64)


def change(name: str, before: str, after: str, seed: int) -> np.ndarray:
    """What another label changes in an otherwise equal image, smoothed, (64, 64)."""
    difference: np.ndarray = gaussian_filter(
        drawn(name, after, seed) - drawn(name, before, seed), 1.0
    )
    return difference


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_same_bytes(name: str) -> None:
    first, again = (synthetic_dataset(name, counts=(8, 4, 4), seed=3) for _ in range(2))
    for split in SPLITS:
        assert pixels(first, split).tobytes() == pixels(again, split).tobytes()
        assert first.split(split).labels.tolist() == again.split(split).labels.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_images_are_distinct_across_seeds_and_splits(name: str) -> None:
    sets = [synthetic_dataset(name, counts=(6, 4, 4), seed=seed) for seed in (0, 1)]
    images = [image.tobytes() for one in sets for split in SPLITS for image in pixels(one, split)]
    assert len(set(images)) == len(images) == 28


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    for name in NAMES:
        synthetic_image(name, 1, size=32, rng=np.random.default_rng(0))
    assert np.random.random() == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_split_holds_every_label_equally_often(name: str) -> None:
    dataset = synthetic_dataset(name, size=32, counts=(14, 5, 7))
    for split, count in zip(SPLITS, (14, 5, 7), strict=True):
        labels = dataset.split(split).labels
        occurrences = np.bincount(labels, minlength=len(dataset.task.labels))
        assert labels.dtype == np.int64
        assert len(labels) == len(pixels(dataset, split)) == count
        assert occurrences.min() >= 1
        assert occurrences.max() - occurrences.min() <= 1


@pytest.mark.parametrize("size", [32, 75, 512])
@pytest.mark.parametrize("name", NAMES)
def test_every_label_is_drawn_at_any_size(name: str, size: int) -> None:
    shape = (size, size, 3) if name == "synthetic-cells" else (size, size)
    for label in range(len(SYNTHETIC_TASKS[name].labels)):
        image = synthetic_image(name, label, size=size, rng=np.random.default_rng(label))
        assert image.dtype == np.uint8
        assert image.shape == shape
        assert image.std() > 10


def test_tasks_say_modality_and_body_part() -> None:
    said = {name: (task.modality, task.body_part) for name, task in SYNTHETIC_TASKS.items()}
    assert said == {
        "synthetic-xray": ("DX", "CHEST"),
        "synthetic-ultrasound": ("US", "BREAST"),
        "synthetic-mri": ("MR", "BRAIN"),
        "synthetic-cells": ("SM", "BLOOD"),
    }


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DatasetError) as caught:
        synthetic_dataset("synthetic-ct")
    assert str(caught.value) == (
        "synthetic task: expected one of synthetic-xray, synthetic-ultrasound, synthetic-mri, "
        "synthetic-cells, got 'synthetic-ct'; choose one of these"
    )


def test_too_few_images_for_the_labels_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"^counts: expected 3 numbers of at least 4 .*; raise"):
        synthetic_dataset("synthetic-mri", counts=(8, 3, 8))


def test_negative_seed_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"^seed: expected 0 or more, got -1"):
        synthetic_dataset("synthetic-mri", seed=-1)


@pytest.mark.parametrize("size", [31, 513])
def test_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(DatasetError, match=rf"^size: expected 32 to 512 pixels, got {size}; "):
        synthetic_dataset("synthetic-xray", size=size)


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(DatasetError, match=rf"^label: expected 0 to 2 .* got {label}; "):
        synthetic_image("synthetic-xray", label, size=32, rng=np.random.default_rng(0))


def test_xray_findings_brighten_and_effusion_lies_low() -> None:
    heights = {}
    for finding in ("opacity", "effusion"):
        changes = [change("synthetic-xray", "clear", finding, seed) for seed in SEEDS]
        assert all(c.max() > 10 and c.max() > 4 * -c.min() for c in changes)
        brighter = np.clip(changes, 0, None).sum(axis=(0, 2))
        heights[finding] = np.average(np.arange(64), weights=brighter)
    assert heights["effusion"] > 40 > heights["opacity"]


@pytest.mark.parametrize("finding", ["smooth lesion", "irregular lesion"])
def test_ultrasound_lesion_is_darker_than_the_tissue_it_replaces(finding: str) -> None:
    for seed in SEEDS:
        changed = change("synthetic-ultrasound", "none", finding, seed)
        assert np.abs(changed).max() == pytest.approx(-changed.min())


def test_ultrasound_irregular_lesion_has_the_longer_border() -> None:
    def roughness(finding: str, seed: int) -> float:
        changed = change("synthetic-ultrasound", "none", finding, seed)
        mass = changed < changed.min() / 2
        steps = np.abs(np.diff(mass.astype(int), axis=0)).sum()
        steps += np.abs(np.diff(mass.astype(int), axis=1)).sum()
        return float(steps / np.sqrt(mass.sum()))

    smooth, irregular = (
        np.median([roughness(finding, seed) for seed in SEEDS])
        for finding in ("smooth lesion", "irregular lesion")
    )
    assert irregular > 1.1 * smooth


def test_mri_ring_lesion_is_a_solid_one_with_a_dark_core() -> None:
    for seed in SEEDS:
        changed = change("synthetic-mri", "solid lesion", "ring lesion", seed)
        assert changed.min() < -20
        assert changed.max() < 0.2 * -changed.min()
        assert 4 < (changed < changed.min() / 2).sum() < 200


def test_mri_atrophy_has_more_fluid() -> None:
    """Fluid is the darkest tissue on most sequences: the middle of the head gets darker."""
    darker = [
        change("synthetic-mri", "none", "atrophy", seed)[16:48, 16:48].mean() < 0 for seed in SEEDS
    ]
    assert np.mean(darker) > 0.6


def test_cells_share_the_smear_around_the_white_cell() -> None:
    for seed in SEEDS:
        one, other = (drawn("synthetic-cells", n, seed) for n in ("lymphocyte", "neutrophil"))
        assert np.array_equal(one[:6, :6], other[:6, :6])


def test_cells_lobed_nucleus_fills_less_than_a_round_one() -> None:
    def dark(label: str, seed: int) -> int:
        green = drawn("synthetic-cells", label, seed)[16:48, 16:48, 1]
        return int((green < 110).sum())

    areas = [(dark("lymphocyte", seed), dark("neutrophil", seed)) for seed in SEEDS]
    assert np.mean([whole > lobed for whole, lobed in areas]) > 0.9


def test_cells_eosinophil_is_the_reddest() -> None:
    def red(label: str, seed: int) -> float:
        middle = drawn("synthetic-cells", label, seed)[16:48, 16:48]
        return float((middle[..., 0] - middle[..., 2]).mean())

    for other in ("lymphocyte", "neutrophil", "monocyte"):
        redder = [red("eosinophil", seed) > red(other, seed) for seed in SEEDS]
        assert np.mean(redder) > 0.9
