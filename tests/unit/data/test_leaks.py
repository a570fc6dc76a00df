"""Leaks: shared patients, equal pixels, planted near-twins; and what a site remembers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from benchmarks.planted import PLANTED, plant
from medlego.data import (
    SPLITS,
    SYNTHETIC_TASKS,
    ArrayImages,
    Dataset,
    Fingerprints,
    LeakReport,
    Memory,
    Samples,
    SiteKey,
    Task,
    check_leaks,
    synthetic_dataset,
)
from medlego.data.leaks.alignment import likeness, texture
from medlego.data.leaks.descriptors import ZOOMS, describe, similarity, thumbnail
from medlego.data.leaks.fingerprints import pixel_digest
from medlego.data.leaks.near_duplicates import LIKE
from medlego.errors import DatasetError
from medlego.images import Image, from_array

PICTURES = 12


@cache
def pictures(name: str = "", seed: int = 0) -> np.ndarray:
    """Procedural images of one modality."""
    name = name or next(iter(SYNTHETIC_TASKS))
    images = synthetic_dataset(name, size=96, counts=(PICTURES, 4, 4), seed=seed).train.images
    assert isinstance(images, ArrayImages)
    return images.array


def dataset(
    *parts: np.ndarray,
    labels: tuple[list[int], ...] | None = None,
    patients: tuple[list[str], ...] | None = None,
    names: tuple[str, ...] = ("no", "yes"),
) -> Dataset:
    """Three splits of images; labels 0 where none are given."""
    task = Task(name="pets", kind="binary", labels=names)
    samples = {}
    for number, (split, array) in enumerate(zip(SPLITS, parts, strict=True)):
        values = np.zeros(len(array), np.int64) if labels is None else np.array(labels[number])
        ids = None if patients is None else np.array(patients[number])
        samples[split] = Samples(ArrayImages(array), values, ids)
    return Dataset.of(task, samples)


def check(*datasets: Dataset, **options: object) -> LeakReport:
    sets = [Fingerprints.of(f"set {i}", data) for i, data in enumerate(datasets)]
    return check_leaks(sets, **options)  # type: ignore[arg-type]


def said(report: LeakReport) -> set[tuple[str, str, int, str, int]]:
    return {
        (p.kind, p.first.split, p.first.index, p.second.split, p.second.index) for p in report.pairs
    }


# looks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYNTHETIC_TASKS)
def test_different_procedural_images_do_not_look_alike(name: str) -> None:
    array = pictures(name)
    report = check(dataset(array[:6], array[6:9], array[9:]))
    assert report.pairs == ()


GENTLE = [kind for kind in PLANTED if not kind.startswith(("framed", "shifted", "turned"))]


@pytest.mark.parametrize("kind", GENTLE)
def test_planted_twins_are_found_across_splits(kind: str) -> None:
    array, random = pictures(), np.random.default_rng(0)
    twins = np.stack(
        [
            np.asarray(Pillow.fromarray(plant(kind, picture, random)).resize((96, 96)))
            for picture in array[:4]
        ]
    )
    report = check(dataset(array[:8], array[8:], twins))
    pairs = {(p.first.index, p.second.index) for p in report.leaks if p.second.split == "test"}
    assert pairs == {(i, i) for i in range(4)}


@pytest.mark.parametrize("kind", sorted(set(PLANTED) - set(GENTLE)))
def test_more_than_half_of_the_twins_that_were_moved_are_found(kind: str) -> None:
    array, random = (
        np.concatenate(
            [pictures(name)[:3] for name in SYNTHETIC_TASKS if pictures(name).ndim == 3]
        ),
        np.random.default_rng(0),
    )
    moved = [plant(kind, picture, random) for picture in array]
    first, second = (
        texture(torch.stack([thumbnail(from_array(picture)) for picture in side]))
        for side in (array, moved)
    )
    assert (likeness(first, second) >= LIKE).float().mean() > 0.5


def test_descriptors_do_not_change_with_brightness_contrast_and_mirroring() -> None:
    array = pictures()[:4] // 2
    changed = np.stack([(picture + 40)[:, ::-1] for picture in array])
    first, second = (
        describe(torch.stack([thumbnail(from_array(np.ascontiguousarray(x))) for x in side]))
        for side in (array, changed)
    )
    torch.testing.assert_close(
        similarity(first, second).diagonal(), torch.ones(4), rtol=0, atol=1e-3
    )


def test_similarity_is_one_with_itself_and_symmetric() -> None:
    descriptors = describe(torch.stack([thumbnail(from_array(x)) for x in pictures()]))
    alike = similarity(descriptors, descriptors)
    torch.testing.assert_close(alike.diagonal(), torch.ones(PICTURES), rtol=0, atol=1e-5)
    torch.testing.assert_close(alike, alike.T, rtol=0, atol=1e-5)


def test_even_pictures_look_like_nothing() -> None:
    even = np.full((3, 16, 16), 7, np.uint8)
    even[1], even[2] = 90, 200
    assert check(dataset(even[:1], even[1:2], even[2:])).pairs == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (3, 5, 3)])
def test_pictures_of_odd_shapes_have_thumbnails(shape: tuple[int, ...]) -> None:
    small = thumbnail(from_array(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)))
    assert describe(small[None]).isfinite().all()


# pixels, patients and labels --------------------------------------------------------------------


def test_equal_pixels_are_found_once_and_not_as_looks() -> None:
    array = pictures()
    report = check(dataset(array[:4], array[4:6], array[[1, 6]]))
    assert said(report) == {("pixels", "train", 1, "test", 0)}
    assert len(report.leaks) == 1


def test_equal_pixels_within_a_split_do_not_leak() -> None:
    array = pictures()
    report = check(dataset(array[[0, 0, 1]], array[2:4], array[4:6]))
    assert said(report) == {("pixels", "train", 0, "train", 1)}
    assert report.leaks == ()


def test_grey_stored_as_colour_or_with_16_bit_has_equal_pixels() -> None:
    grey = pictures()[0]
    wide = Image(torch.from_numpy(grey.astype(np.float32) * 257 / 65535)[None])
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert len({pixel_digest(i) for i in (from_array(grey), from_array(colour), wide)}) == 1


def test_one_value_changed_has_other_pixels() -> None:
    other = pictures()[0].copy()
    other[0, 0] ^= 1
    assert pixel_digest(from_array(other)) != pixel_digest(from_array(pictures()[0]))


def test_transposed_pixels_are_others() -> None:
    even = np.zeros((2, 3), np.uint8)
    assert pixel_digest(from_array(even)) != pixel_digest(from_array(even.T.copy()))


def test_a_patient_in_two_splits_leaks_once_per_pair_of_splits() -> None:
    array = pictures()
    ids = (["a", "b", "b"], ["c"], ["b", "b", "a"])
    report = check(dataset(array[:3], array[3:4], array[4:7], patients=ids))
    assert said(report) == {("patient", "train", 1, "test", 0), ("patient", "train", 0, "test", 2)}


def test_no_report_names_a_patient() -> None:
    array = pictures()
    ids = (["Ann", "b"], ["c"], ["Ann"])
    report = check(dataset(array[:2], array[2:3], array[3:4], patients=ids))
    assert len(report.leaks) == 1
    assert "Ann" not in str(report.as_dict())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("00100", "100", True),
        ("100.0", "100", True),
        ("100,00", "0100", True),
        ("1,000", "1", False),
        ("1000", "1.000", False),
        ("100", "1000", False),
        ("1e2", "100", False),
        ("A100", "100", False),
        ("0", "00", True),
    ],
)
def test_ids_that_are_one_number_in_two_spellings_are_reported(one, other, same):
    array = pictures()
    ids = (["x", one], ["y"], [other])
    report = check(dataset(array[:2], array[2:3], array[3:4], patients=ids))
    expected = {("patient-number", "train", 1, "test", 0)} if same else set()
    assert {row for row in said(report) if row[0].startswith("patient")} == expected
    assert len(report.leaks) >= same
    assert other not in str(report.as_dict()).replace("'index': 0", "")


def test_ids_that_are_equal_as_they_stand_are_not_reported_twice():
    array = pictures()
    ids = (["7", "007"], ["7"], ["7"])
    kinds = [
        row[0] for row in said(check(dataset(array[:2], array[2:3], array[3:4], patients=ids)))
    ]
    assert kinds.count("patient") == 3
    assert kinds.count("patient-number") == 0


def test_contradicting_labels_are_found_within_a_split_too() -> None:
    array = pictures()
    labels = ([0, 1, 0], [0], [0])
    report = check(dataset(array[[0, 0, 1]], array[2:3], array[3:4], labels=labels))
    (pair,) = report.conflicts
    assert (pair.first.index, pair.second.index, pair.leak) == (0, 1, False)


def test_labels_of_two_sets_are_compared_by_name() -> None:
    array = pictures()
    first = dataset(array[:1], array[1:2], array[2:3], labels=([1], [0], [0]))
    second = dataset(array[:1], array[3:4], array[4:5], labels=([0], [0], [0]), names=("yes", "no"))
    report = check(first, second)
    assert len(report.pairs) == 1
    assert report.conflicts == ()


def test_labels_of_two_tasks_do_not_contradict_each_other() -> None:
    array = pictures()
    sets = [
        dataset(array[:1], array[i : i + 1], array[i + 1 : i + 2], names=names)
        for i, names in ((1, ("no", "yes")), (3, ("left", "right")))
    ]
    assert check(*sets).conflicts == ()


def test_unknown_findings_contradict_nothing() -> None:
    task = Task(name="chest", kind="multilabel", labels=("a", "b"))
    array = pictures()
    rows = np.array([[1, np.nan], [np.nan, 0]], np.float32)
    parts = {"train": Samples(ArrayImages(array[[0, 0]]), rows)}
    parts |= {
        s: Samples(ArrayImages(array[i : i + 1]), rows[:1]) for s, i in (("val", 1), ("test", 2))
    }
    assert check(Dataset.of(task, parts)).conflicts == ()


def test_an_image_of_one_set_s_training_in_another_s_test_leaks() -> None:
    array = pictures()
    report = check(
        dataset(array[:2], array[2:3], array[3:4]), dataset(array[4:5], array[5:6], array[[0, 6]])
    )
    (pair,) = report.leaks
    assert (pair.first.data, pair.second.data) == ("set 0", "set 1")


def test_an_image_in_two_training_splits_does_not_leak() -> None:
    array = pictures()
    report = check(
        dataset(array[:2], array[2:3], array[3:4]), dataset(array[[0, 4]], array[5:6], array[6:7])
    )
    assert len(report.pairs) == 1
    assert report.leaks == ()


def test_sets_of_one_name_are_refused() -> None:
    array = pictures()
    fingerprints = Fingerprints.of("x", dataset(array[:1], array[1:2], array[2:3]))
    with pytest.raises(DatasetError, match="expected data sets of different names, got x, x"):
        check_leaks([fingerprints, fingerprints])


# memory -----------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    return SiteKey.load(tmp_path / "site.key", make=True)


def remembered(key: SiteKey, path: Path, **changes: object) -> Memory:
    array = pictures()
    data = dataset(array[:4], array[4:5], array[5:6], patients=(["a", "b", "c", "d"], ["e"], ["f"]))
    Memory.of(replace(Fingerprints.of("brick", data), **changes), key).save(path)  # type: ignore[arg-type]
    return Memory.load(path, key)


def test_remembered_images_are_found_by_patient_pixels_and_looks(
    tmp_path: Path, key: SiteKey
) -> None:
    memory = remembered(key, tmp_path / "seen")
    array, random = pictures(), np.random.default_rng(0)
    twin = plant("recompressed (JPEG 25 to 80)", array[2], random)
    test = np.stack([array[1], twin, array[8]])
    data = dataset(array[9:10], array[10:11], test, patients=(["x"], ["y"], ["z", "w", "d"]))
    report = check(data, memories=[memory], key=key)
    assert said(report) == {
        ("pixels", "train", 1, "test", 0),
        ("near-duplicate", "train", 2, "test", 1),
        ("patient", "train", 3, "test", 2),
    }
    assert len(report.leaks) == 3


def test_training_images_that_are_remembered_do_not_leak(tmp_path: Path, key: SiteKey) -> None:
    memory = remembered(key, tmp_path / "seen")
    array = pictures()
    report = check(dataset(array[:1], array[8:9], array[9:10]), memories=[memory], key=key)
    assert [pair.kind for pair in report.pairs] == ["pixels"]
    assert report.leaks == ()


def test_whole_makes_every_image_a_test_image(tmp_path: Path, key: SiteKey) -> None:
    memory = remembered(key, tmp_path / "seen")
    array = pictures()
    data = dataset(array[:1], array[8:9], array[9:10])
    assert len(check(data, memories=[memory], key=key, whole=True).leaks) == 1


def test_a_sidecar_holds_neither_ids_nor_plain_digests(tmp_path: Path, key: SiteKey) -> None:
    remembered(key, tmp_path / "seen")
    content = (tmp_path / "seen").read_bytes()
    assert pixel_digest(from_array(pictures()[0]))[:16] not in content
    other = SiteKey(bytes(32))
    assert key.mark("patient", b"a") in content
    assert other.mark("patient", b"a") not in content


def test_descriptors_in_a_sidecar_are_turned_by_the_key(tmp_path: Path, key: SiteKey) -> None:
    memory = remembered(key, tmp_path / "seen")
    plain = describe(torch.stack([thumbnail(from_array(pictures()[0]))]))
    alike = (memory.descriptors()[0, 0] @ plain[0, 0]).abs()
    assert float(alike) < 0.5
    turned = plain @ key.rotation()
    torch.testing.assert_close(memory.descriptors()[:1], turned, rtol=0, atol=0.005)


def test_a_rotation_keeps_similarity(key: SiteKey) -> None:
    rotation = key.rotation().double()
    torch.testing.assert_close(
        rotation @ rotation.T, torch.eye(len(rotation), dtype=torch.float64), rtol=0, atol=1e-5
    )


def test_another_key_is_refused(tmp_path: Path, key: SiteKey) -> None:
    remembered(key, tmp_path / "seen")
    with pytest.raises(
        DatasetError, match="expected the key that it was written with, got another"
    ):
        Memory.load(tmp_path / "seen", SiteKey(bytes(32)))


def test_memories_without_key_are_refused(tmp_path: Path, key: SiteKey) -> None:
    memory = remembered(key, tmp_path / "seen")
    array = pictures()
    with pytest.raises(DatasetError, match="expected the key of what is remembered, got none"):
        check(dataset(array[:1], array[1:2], array[2:3]), memories=[memory])


def test_key_and_sidecar_are_their_owner_s_alone(tmp_path: Path, key: SiteKey) -> None:
    remembered(key, tmp_path / "seen")
    assert [(tmp_path / n).stat().st_mode & 0o077 for n in ("site.key", "seen")] == [0, 0]


@pytest.mark.parametrize("text", ["", "xyz", "00" * 31, "00" * 33, "gg" * 32])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(DatasetError, match="k: expected 64 hexadecimal digits, got another"):
        SiteKey.load(tmp_path / "k")


def test_a_damaged_sidecar_is_refused_or_means_the_same_images(
    tmp_path: Path, key: SiteKey
) -> None:
    remembered(key, tmp_path / "seen")
    whole, random = (tmp_path / "seen").read_bytes(), np.random.default_rng(0)
    header = int.from_bytes(whole[:8], "little") + 8
    refused = []
    for number in range(200):
        content = bytearray(whole)
        content[random.integers(header)] = random.integers(256)
        cut = len(content) if number % 2 else random.integers(len(content))
        (tmp_path / "seen").write_bytes(content[:cut])
        try:
            assert len(Memory.load(tmp_path / "seen", key)) == 6
        except DatasetError as error:
            refused.append(str(error))
    assert refused
    assert all(message.startswith(str(tmp_path / "seen")) for message in refused)


def test_a_sidecar_of_other_shapes_is_refused(tmp_path: Path, key: SiteKey) -> None:
    memory = remembered(key, tmp_path / "seen")
    replace(memory, looks=memory.looks[:, : len(ZOOMS) - 1].contiguous()).save(tmp_path / "seen")
    with pytest.raises(DatasetError, match=r"seen: looks: expected shape \(6, 3, \d+\), got"):
        Memory.load(tmp_path / "seen", key)
