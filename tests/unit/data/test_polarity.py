"""Which of two labels is the positive one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego.data import SPLITS, TaskHints, guess_positive, load_dataset, positive_line
from medlego.errors import DatasetError


@pytest.mark.parametrize(
    ("first", "second", "positive"),
    [
        ("abnormal", "normal", "abnormal"),
        ("benign", "malignant", "malignant"),
        ("Negative", "POSITIVE", "POSITIVE"),
        ("no", "yes", "yes"),
        ("0", "1", None),
        ("1", "2", None),
        ("covid", "non-covid", "covid"),
        ("no_tumor", "tumor", "tumor"),
        ("normal", "pneumonia", "pneumonia"),
        ("healthy", "sick", "sick"),
        ("malignant", "normal, benign", "malignant"),
        ("without effusion", "effusion", "effusion"),
        ("cat", "dog", None),
        ("benign", "normal", None),
        ("north", "nodule", None),
        ("left", "right", None),
    ],
)
def test_a_pair_that_is_well_known_says_which_is_positive(first, second, positive):
    assert guess_positive((first, second)) == positive
    assert guess_positive((second, first)) == positive


def folder(path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (path / name).mkdir(parents=True)
        for i in range(12):
            picture = np.full((4, 4), 10 + 20 * number + i, np.uint8)
            Pillow.fromarray(picture).save(path / name / f"{i}.png")
    return path


def brightness(dataset, label: str) -> set[int]:
    """The grey values of all images with a label."""
    place = dataset.task.labels.index(label)
    return {
        round(float(split.images[i].pixels.max()) * 255)
        for split in map(dataset.split, SPLITS)
        for i in np.flatnonzero(split.labels == place)
    }


@pytest.mark.parametrize(
    ("names", "hints", "labels"),
    [
        (("abnormal", "normal"), TaskHints(), ("normal", "abnormal")),
        (("abnormal", "normal"), TaskHints(positive="normal"), ("abnormal", "normal")),
        (
            ("abnormal", "normal"),
            TaskHints(labels=("abnormal", "normal")),
            ("abnormal", "normal"),
        ),
        (("cat", "dog"), TaskHints(), ("cat", "dog")),
        (("cat", "dog"), TaskHints(positive="cat"), ("dog", "cat")),
        (("cat", "dog", "emu"), TaskHints(), ("cat", "dog", "emu")),
    ],
)
def test_the_positive_label_is_the_second_and_images_keep_their_labels(
    names, hints, labels, tmp_path
):
    dataset = load_dataset(folder(tmp_path / "d", *names), hints)
    assert dataset.task.labels == labels
    assert dataset.task.positive == (labels[1] if len(labels) == 2 else None)
    for number, name in enumerate(names):
        assert brightness(dataset, name) == set(range(10 + 20 * number, 22 + 20 * number))


@pytest.mark.parametrize(
    ("names", "positive", "says"),
    [
        (("cat", "dog"), "emu", "expected cat or dog, got 'emu'"),
        (("cat", "dog", "emu"), "emu", "expected a task of two labels, got 'emu' for a multiclass"),
    ],
)
def test_a_positive_label_that_is_none_of_two_is_refused(names, positive, says, tmp_path):
    with pytest.raises(DatasetError, match=says):
        load_dataset(folder(tmp_path / "d", *names), TaskHints(positive=positive))


def numbered(path: Path, **arrays: np.ndarray) -> Path:
    """An npz of dark images numbered 0 and bright ones numbered 1."""
    labels = np.arange(12) % 2
    parts: dict[str, Any] = {f"{s}_labels": labels[:, None] for s in SPLITS}
    images = (np.ones((12, 4, 4)) * (10 + 200 * labels)[:, None, None]).astype(np.uint8)
    parts |= {f"{s}_images": images for s in SPLITS} | arrays
    np.savez(path, **parts)
    return path


def test_labels_that_are_numbered_stay_in_the_order_of_their_numbers(tmp_path):
    path = numbered(tmp_path / "x.npz")
    hints = TaskHints(labels=("malignant", "benign"))
    assert load_dataset(path, hints).task.labels == ("malignant", "benign")
    for wrong in (
        TaskHints(positive="class 0"),
        TaskHints(None, None, hints.labels, positive="malignant"),
    ):
        with pytest.raises(DatasetError, match="to choose, name them: class_names in"):
            load_dataset(path, wrong)
    named = numbered(tmp_path / "y.npz", class_names=np.array(["malignant", "benign"]))
    dataset = load_dataset(named)
    assert dataset.task.labels == ("benign", "malignant")
    assert brightness(dataset, "malignant") == {10}


def test_people_are_told_which_it_is_and_how_to_change_it(tmp_path):
    guessed = load_dataset(folder(tmp_path / "a", "abnormal", "normal")).task
    second = load_dataset(folder(tmp_path / "b", "cat", "dog")).task
    assert positive_line(guessed) == (
        "positive label: abnormal; if it is normal, pass --positive 'normal'"
    )
    assert "dog, the second of the two; if it is cat" in positive_line(second)
