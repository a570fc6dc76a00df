"""Samples: split by patient, taken, joined and counted."""

from __future__ import annotations

import numpy as np
import pytest

from medlego.data import SPLITS, ArrayImages, Samples, describe, join
from medlego.data.samples import split_by_patient


def patients_and_labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patients = random.integers(0, 60, 300)
    return patients.astype(str), (patients % 3).astype(np.int64)


@pytest.mark.parametrize("seed", range(3))
def test_split_holds_every_image_once(seed: int) -> None:
    patients, labels = patients_and_labels(seed)
    parts = split_by_patient(labels, patients, seed)
    assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(300))


@pytest.mark.parametrize("seed", range(3))
def test_split_never_shares_a_patient(seed: int) -> None:
    patients, labels = patients_and_labels(seed)
    sides = [set(patients[part]) for part in split_by_patient(labels, patients, seed).values()]
    assert sum(len(side) for side in sides) == len(set(patients))


@pytest.mark.parametrize("seed", range(3))
def test_split_keeps_the_shares_of_each_label(seed: int) -> None:
    labels = np.repeat([0, 1, 2], (200, 100, 50))
    parts = split_by_patient(labels, None, seed)
    counts = [np.bincount(labels[parts[name]]).tolist() for name in SPLITS]
    assert counts == [[140, 70, 35], [20, 10, 5], [40, 20, 10]]


@pytest.mark.parametrize("seed", range(3))
def test_split_by_patient_keeps_the_shares_within_a_patient(seed: int) -> None:
    patients, labels = patients_and_labels(seed)
    largest = np.unique(patients, return_counts=True)[1].max()
    parts = split_by_patient(labels, patients, seed)
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        for label in range(3):
            wanted = share * (labels == label).sum()
            assert abs((labels[parts[name]] == label).sum() - wanted) <= largest


def test_same_seed_gives_the_same_split() -> None:
    patients, labels = patients_and_labels(0)
    first, again = (split_by_patient(labels, patients, 5) for _ in range(2))
    assert all(first[name].tolist() == again[name].tolist() for name in SPLITS)


def test_another_seed_gives_another_split() -> None:
    patients, labels = patients_and_labels(0)
    first, other = (split_by_patient(labels, patients, seed) for seed in (0, 1))
    assert first["test"].tolist() != other["test"].tolist()


def test_unknown_labels_do_not_keep_images_out_of_the_split() -> None:
    labels = np.full((40, 2), np.nan, np.float32)
    labels[:20] = [1, 0]
    parts = split_by_patient(labels, None, 0)
    assert [len(parts[name]) for name in SPLITS] == [28, 4, 8]


def samples(count: int = 4, patients: bool = True) -> Samples:
    array = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    ids = np.array([f"p{i}" for i in range(count)]) if patients else None
    return Samples(ArrayImages(array), np.arange(count), ids)


def firsts(part: Samples) -> list[int]:
    return [round(float(part.images[i].pixels[0, 0, 0]) * 255) for i in range(len(part))]


def test_taken_samples_come_in_the_order_asked_for() -> None:
    subset = samples().take(np.array([3, 1]))
    assert (firsts(subset), subset.labels.tolist()) == ([3, 1], [3, 1])
    assert subset.patients is not None
    assert subset.patients.tolist() == ["p3", "p1"]


def test_joined_samples_follow_one_another() -> None:
    joined = join([samples(2), samples(3)])
    assert (firsts(joined), joined.labels.tolist()) == ([0, 1, 0, 1, 2], [0, 1, 0, 1, 2])
    assert len(joined) == 5


def test_joined_samples_can_be_taken_from() -> None:
    subset = join([samples(2), samples(3)]).take(np.array([4, 0]))
    assert (firsts(subset), subset.labels.tolist()) == ([2, 0], [2, 0])


def test_joined_samples_end() -> None:
    with pytest.raises(IndexError):
        join([samples(2), samples(3)]).images[5]


def test_patients_are_kept_where_every_part_has_them() -> None:
    assert join([samples(2), samples(2, patients=False)]).patients is None


def test_images_of_each_label_are_counted() -> None:
    labelled = Samples(samples().images, np.array([0, 2, 2, 0]))
    assert describe(labelled, ("a", "b", "c")) == {"a": 2, "b": 0, "c": 2}


def test_unknown_labels_are_not_counted() -> None:
    labels = np.array([[1, np.nan], [1, 0], [np.nan, np.nan], [0, 1]], np.float32)
    assert describe(Samples(samples().images, labels), ("a", "b")) == {"a": 2, "b": 1}


def test_one_number_in_two_spellings_is_one_patient_of_a_split() -> None:
    labels = np.arange(40) % 2
    plain = np.array([str(i // 2) for i in range(40)])
    spelled = np.array([f"00{i // 2}" if i % 2 else f"{i // 2}.0" for i in range(40)])
    for part in split_by_patient(labels, spelled, 3).values():
        assert len(part) % 2 == 0
        assert len({int(float(spelled[i])) for i in part}) == len(part) // 2
    padded = np.array([f"{i // 2:03}" for i in range(40)])
    assert [p.tolist() for p in split_by_patient(labels, padded, 3).values()] != []
    assert set(np.concatenate(list(split_by_patient(labels, plain, 3).values()))) == set(range(40))
