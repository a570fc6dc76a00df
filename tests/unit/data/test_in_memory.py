"""Data sets from memory: arrays, torch data sets and frames mean what files would mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import TensorDataset

from medlego.data import SPLITS, Columns, Dataset, TaskHints, fingerprint, load_dataset
from medlego.errors import DatasetError, ImageError
from medlego.images import as_image

GREYS = np.random.default_rng(0).integers(0, 256, (30, 8, 9), dtype=np.uint8)
NUMBERS = np.arange(30) % 2
EVEN = list(SPLITS) * 10


def whole(dataset):
    """Every image's pixels and label, by split."""
    return {
        name: [
            (dataset.split(name).images[i].pixels.tolist(), dataset.split(name).labels[i].tolist())
            for i in range(len(dataset.split(name)))
        ]
        for name in SPLITS
    }


def of(images=GREYS, labels=NUMBERS, **more):
    return Dataset.from_arrays(images, labels, **{"task": "brain", **more})


def test_numbers_get_names_and_images_are_dealt_to_three_splits():
    dataset = of(label_names=("normal", "tumour"))
    assert (dataset.task.name, dataset.task.kind) == ("brain", "binary")
    assert dataset.task.labels == ("normal", "tumour")
    assert sum(len(dataset.split(name)) for name in SPLITS) == 30
    assert not dataset.numbered
    first = dataset.train.images[0].pixels[0] * 255
    assert any(np.array_equal(first.round().numpy(), grey) for grey in GREYS)


def test_numbers_without_names_keep_their_order():
    dataset = of(labels=np.arange(30) % 3)
    assert dataset.task.labels == ("class 0", "class 1", "class 2")
    assert dataset.task.kind == "multiclass"
    assert dataset.numbered


def test_text_names_itself():
    labels = np.array(["benign", "malignant"])[NUMBERS]
    for given in (labels, labels.tolist(), pd.Series(labels), pd.Series(labels, dtype="category")):
        assert of(labels=given).task.labels == ("benign", "malignant")


def test_labels_in_a_given_order_stay_in_it():
    dataset = of(label_names=("malignant", "benign"), split=EVEN)
    assert dataset.task.labels == ("malignant", "benign")
    assert dataset.train.labels.tolist() == NUMBERS[::3].tolist()
    assert dataset.notes == ()


def test_numbers_whose_first_label_is_the_positive_one_are_turned_with_a_note():
    dataset = of(label_names=("malignant", "benign"), positive="malignant", split=EVEN)
    assert dataset.task.labels == ("benign", "malignant")
    assert dataset.train.labels.tolist() == (1 - NUMBERS[::3]).tolist()
    assert dataset.notes == (
        "labels are turned: number 0 is malignant and 1 is benign; name other data's, too",
    )


@pytest.mark.parametrize("names", [None, ("malignant", "benign"), ("benign", "malignant")])
def test_arrays_mean_what_the_same_frame_means(tmp_path, names):
    columns = files(tmp_path)
    frame = pl.DataFrame({"path": columns["path"], "label": columns["label"], "split": EVEN})
    given = {"label_names": names, "split": EVEN}
    expected = Dataset.from_frame(frame, task="brain", folder=tmp_path, label_names=names)
    forms = [of(labels=columns["label"], **given)]
    if names:
        forms += [of(labels=[names.index(label) for label in columns["label"]], **given)]
    for dataset in forms:
        assert dataset.task == expected.task
        assert whole(dataset) == whole(expected)


def test_images_of_many_forms_are_the_same_images():
    forms = [
        list(GREYS),
        [Pillow.fromarray(grey) for grey in GREYS],
        GREYS[:, None],
        GREYS[..., None],
        torch.from_numpy(GREYS),
        (GREYS / np.float32(255)).astype(np.float32),
        torch.from_numpy(GREYS)[:, None].float() / 255,
    ]
    expected = whole(of())
    for form in forms:
        assert whole(of(form)) == expected


def test_images_may_differ_in_size():
    images = [np.zeros((8 + i, 9, 3), np.uint8) for i in range(30)]
    assert {i.pixels.shape for i in of(images).train.images} <= {(3, 8 + i, 9) for i in range(30)}


def test_channels_first_are_colours():
    colours = np.random.default_rng(1).integers(0, 256, (30, 3, 8, 9), dtype=np.uint8)
    assert whole(of(colours)) == whole(of(np.moveaxis(colours, 1, 3)))


def test_labels_in_columns_may_be_unknown():
    labels = np.random.default_rng(0).integers(0, 2, (30, 3)).astype(float)
    labels[::4, 1] = np.nan
    dataset = of(labels=labels, label_names=("a", "b", "c"))
    assert dataset.task.kind == "multilabel"
    parts = np.concatenate([dataset.split(name).labels for name in SPLITS])
    assert parts.dtype == np.float32
    assert np.isnan(parts).sum() == np.isnan(labels).sum()


def test_an_image_without_its_one_label_is_left_out_and_counted():
    labels = NUMBERS.astype(float)
    labels[:4] = np.nan
    dataset = of(labels=labels)
    assert "left out: 4 images without a label" in dataset.notes
    assert sum(len(dataset.split(name)) for name in SPLITS) == 26
    missing = pd.Series(labels).astype("Int64")
    assert whole(of(labels=missing)) == whole(dataset)


def test_patients_stay_whole_and_groups_go_with_their_images():
    dataset = of(patients=np.arange(30) // 3, groups={"sex": np.array(["F", "M"])[NUMBERS]})
    sides = [set(dataset.split(name).patients.tolist()) for name in SPLITS]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10
    sex = dataset.train.groups["sex"]
    assert sex.tolist() == np.array(["F", "M"])[dataset.train.labels].tolist()


def test_a_split_that_is_given_is_kept():
    split = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    assert [len(of(split=split).split(name)) for name in SPLITS] == [20, 5, 5]
    with pytest.raises(DatasetError, match="arrays: split: expected each patient in one split"):
        of(split=split, patients=["x"] * 30)


def test_a_patient_in_two_spellings_is_one():
    patients = ["001", "1", *(f"p{i}" for i in range(28))]
    rule = r"split: expected each patient in one split, got 1 in several \(rows 0, 1\); keep"
    with pytest.raises(DatasetError, match=rule):
        of(split=EVEN, patients=patients)


def test_a_test_set_from_outside_needs_no_training_images():
    assert len(of(split=["test"] * 30, needs=("test",)).test) == 30
    with pytest.raises(DatasetError, match="expected images in split 'train', got none"):
        of(split=["test"] * 30)


def test_the_seed_decides_the_split():
    assert whole(of(seed=1)) == whole(of(seed=1)) != whole(of(seed=2))


def test_sixteen_bits_are_scaled_by_their_range_and_dark_ones_noted():
    deep = GREYS.astype(np.uint16) * 257
    assert whole(of(deep)) == whole(of())
    assert of(deep).notes == ()
    (note,) = of(GREYS.astype(np.uint16)).notes
    assert note.startswith("greys of 16 bits reach 255 of 65,535 and stay dark")
    among_bytes = [*GREYS[:15], *GREYS[15:].astype(np.uint16)]
    assert of(among_bytes).notes == (note,)
    assert of([Pillow.fromarray(grey.astype(np.uint16)) for grey in GREYS]).notes == (note,)


def test_one_label_an_image_in_columns_is_noted():
    (note,) = of(labels=np.eye(3)[np.arange(30) % 3]).notes
    assert note.startswith("each image has exactly one label")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"labels": NUMBERS[:9]}, r"labels: expected one per image \(30\), got 9"),
        ({"labels": NUMBERS + 0.5}, "labels: expected whole numbers 0 to 1 .*, got 0.5"),
        ({"labels": NUMBERS + 1, "label_names": list("ab")}, "got 2; subtract 1 where they count"),
        ({"positive": "class 0"}, r"got 'class 0'; to choose, name them: .*, label_names of arr"),
        ({"labels": NUMBERS - 1}, "labels: expected whole numbers .* got -1"),
        ({"labels": np.zeros((30, 2, 2))}, "labels: expected numbers or text"),
        ({"labels": [[1], [1, 2]]}, "labels: expected rows of one length"),
        ({"labels": np.full(30, np.nan)}, "expected at least one labelled row"),
        ({"labels": np.arange(30) % 3, "label_names": ("a", "b")}, "0 to 1 for 2 labels, got 2"),
        ({"label_names": ("a", "a")}, "label_names: expected each once"),
        ({"label_names": ("a", "b|c")}, "label_names: expected text without '|'"),
        ({"label_names": ("a", "")}, "label_names: expected text"),
        ({"labels": np.zeros((30, 3)), "label_names": ("a", "b")}, r"one per column \(3\), got 2"),
        ({"labels": np.full((30, 2), 7)}, "expected 1, 0, -1 or nothing, got '7'"),
        ({"patients": ["x"] * 3}, r"patient_id: expected one per image \(30\), got 3"),
        ({"patients": [None] * 30}, "patient_id: expected a value in every row, none in row 0"),
        ({"split": ["training", "exam"] * 15}, r"got something else in 15 rows \(first in row 1\)"),
        ({"task": 7}, "task: expected a name or TaskHints, got int"),
        ({"task": "a b"}, "name"),
        ({"positive": "c"}, "positive: expected class 0 or class 1, got 'c'"),
        ({"labels": [{}] * 30}, "labels: expected numbers or text, got dict"),
        ({"labels": 5}, r"labels: expected one per image \(30\), got 1"),
        ({"label_names": 3}, "label_names: expected texts in order, got 3"),
        ({"label_names": {"a", "b"}}, "label_names: expected texts in order"),
        ({"groups": ["F"] * 30}, "groups: expected values by name, got list"),
        ({"task": TaskHints(name="a", kind="best")}, "kind: expected one of multiclass"),
        ({"images": []}, "images: expected at least one, got none"),
        ({"images": "scans"}, "images: expected an array or a list, got str"),
        ({"images": np.zeros((0, 8, 8), np.uint8), "labels": []}, "expected at least one"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(more, message):
    with pytest.raises(DatasetError, match=message) as caught:
        of(**more)
    assert "\n" not in str(caught.value) or "problems" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((8, 8), 300.0), r"expected floats in \[0, 1\], got 300 to 300"),
        (np.full((8, 8), -0.5), r"expected floats in \[0, 1\], got -0.5"),
        (np.full((8, 8), np.nan), r"expected floats in \[0, 1\], got nan"),
        (np.zeros((8, 8), np.int64), "expected uint8, uint16 or floats .* got int64"),
        (np.zeros((8, 8, 4), np.uint8), r"expected \(height, width\) .* got \(8, 8, 4\)"),
        (np.zeros((3, 8, 3), np.uint8), "which reads both ways"),
        (np.zeros((0, 8), np.uint8), r"got \(0, 8\)"),
        (np.zeros(8, np.uint8), r"got \(8,\)"),
        ("scan.png", "expected an array, a tensor or a Pillow picture, got str"),
        (Pillow.fromarray(np.full((4, 4), -1, np.int32)), "expected a whole picture"),
    ],
)
def test_pixels_that_mean_nothing_certain_are_refused(value, message):
    with pytest.raises(ImageError, match=message):
        as_image(value)


def test_a_bad_image_among_many_is_named_by_its_place():
    images = [*GREYS[:29], np.full((8, 9), 9.0)]
    with pytest.raises(ImageError, match=r"images\[29\]: expected floats"):
        of(images)


def test_a_torch_data_set_is_read_by_its_pairs():
    pairs = TensorDataset(torch.from_numpy(GREYS)[:, None], torch.from_numpy(NUMBERS))
    assert whole(Dataset.from_torch(pairs, task="brain")) == whole(of())


def test_a_torch_data_set_is_read_once_and_then_image_by_image():
    read = []

    class Counted(TensorDataset):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    labels = torch.from_numpy(NUMBERS).float()
    labels[3] = torch.nan
    dataset = Dataset.from_torch(Counted(torch.from_numpy(GREYS), labels), task="brain")
    assert read == list(range(30))
    assert dataset.test.images[0].pixels.shape == (1, 8, 9)
    assert len(read) == 31


def test_torch_data_sets_by_split_keep_it_and_name_their_classes():
    class Pairs(TensorDataset):
        classes = ("normal", "tumour")

    parts = {
        name: Pairs(torch.from_numpy(GREYS[i::3])[:, None] / 255, torch.arange(10)[:, None] % 2)
        for i, name in enumerate(SPLITS)
    }
    dataset = Dataset.from_torch(parts, task="brain")
    assert [len(dataset.split(name)) for name in SPLITS] == [10, 10, 10]
    assert dataset.task.labels == ("normal", "tumour")
    assert fingerprint(dataset.val) != fingerprint(dataset.test)


def test_splits_whose_classes_differ_are_refused():
    parts = {name: TensorDataset(torch.zeros(1, 1, 8, 8), torch.zeros(1)) for name in SPLITS}
    for name, part in parts.items():
        vars(part)["classes"] = ["b", "a"] if name == "test" else ["a", "b"]
    rule = "torch data set: classes: expected the same in every split, got 2 lists; number labels"
    with pytest.raises(DatasetError, match=rule):
        Dataset.from_torch(parts, task="brain")


def test_classes_of_a_torch_data_set_are_no_chosen_order():
    pairs = TensorDataset(torch.from_numpy(GREYS)[:, None], torch.from_numpy(NUMBERS))
    vars(pairs)["classes"] = ["malignant", "normal"]
    assert Dataset.from_torch(pairs, task="brain").task.labels == ("normal", "malignant")
    chosen = Dataset.from_torch(pairs, task="brain", label_names=["malignant", "normal"])
    assert chosen.task.labels == ("malignant", "normal")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dev": TensorDataset(torch.zeros(3, 1, 8, 8))}, "split: expected train, val, test"),
        (TensorDataset(torch.zeros(3, 1, 8, 8)), "expected pairs of image and label"),
        (iter([]), "expected a data set with a length"),
        ({}, "expected images with labels, got none"),
    ],
)
def test_other_torch_data_sets_are_refused(data, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_torch(data, task="brain")


def files(folder):
    for i, grey in enumerate(GREYS):
        Pillow.fromarray(grey).save(folder / f"{i}.png")
    return {
        "path": [f"{i}.png" for i in range(30)],
        "label": ["benign" if n else "malignant" for n in NUMBERS],
        "PatientID": [f"p{i // 2}" for i in range(30)],
        "group_sex": ["F"] * 15 + ["M"] * 15,
        "ignored": [object()] * 30,
    }


def test_a_frame_means_what_the_same_csv_means(tmp_path):
    columns = files(tmp_path)
    frame = pd.DataFrame(columns)
    frame.drop(columns="ignored").to_csv(tmp_path / "brain.csv", index=False)
    expected = load_dataset(tmp_path / "brain.csv")
    shown = pl.DataFrame({name: cells for name, cells in columns.items() if name != "ignored"})
    for given in (frame, shown, frame.assign(path=[Path(p) for p in frame.path])):
        dataset = Dataset.from_frame(given, task="brain", folder=tmp_path)
        assert dataset.task == expected.task
        assert whole(dataset) == whole(expected)
        np.testing.assert_array_equal(dataset.train.patients, expected.train.patients)
        assert dataset.train.groups["sex"].tolist() == expected.train.groups["sex"].tolist()


def test_a_frame_of_findings_with_gaps_is_multilabel(tmp_path):
    frame = pd.DataFrame(files(tmp_path)).drop(columns="label")
    frame["label_a"] = [1.0, 0.0, np.nan] * 10
    frame["label_b"] = pd.array([True, False, None] * 10, dtype="boolean")
    dataset = Dataset.from_frame(frame, task="brain", folder=tmp_path)
    assert dataset.task.labels == ("a", "b")
    assert np.isnan(dataset.train.labels).any()


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("label", [True, False] * 15),
        ("PatientID", [float(i // 2) for i in range(29)] + [14.0]),
        ("group_device", [12.0, None, 7.5] * 10),
        ("group_smoker", [True, False, None] * 10),
        ("group_day", pd.date_range("2024-01-05", periods=30)),
        ("group_time", pd.date_range("2024-01-05", periods=30, freq="7h")),
    ],
)
def test_cells_of_any_type_mean_what_pandas_writes_of_them(tmp_path, name, cells):
    frame = pd.DataFrame(files(tmp_path)).drop(columns="ignored").assign(**{name: cells})
    frame.to_csv(tmp_path / "brain.csv", index=False)
    expected = load_dataset(tmp_path / "brain.csv")
    for given in (frame, pl.DataFrame(frame.to_dict("list"), strict=False)):
        dataset = Dataset.from_frame(given, task="brain", folder=tmp_path)
        assert dataset.task == expected.task
        np.testing.assert_array_equal(dataset.train.patients, expected.train.patients)
        for group, values in expected.train.groups.items():
            np.testing.assert_array_equal(dataset.train.groups[group], values)


def test_columns_of_a_frame_may_have_other_names(tmp_path):
    frame = pd.DataFrame(files(tmp_path)).rename(columns={"path": "file", "label": "diagnosis"})
    columns = Columns(path="file", label=("diagnosis",))
    dataset = Dataset.from_frame(frame, task="brain", folder=tmp_path, columns=columns)
    assert dataset.task.labels == ("benign", "malignant")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1, 2], "expected a data frame of pandas or polars, got list"),
        (pd.DataFrame({"path": []}), "expected a header and at least one row"),
        (
            pd.DataFrame({"path": ["gone.png"], "label": ["a"]}),
            r"none for all 1 \(row 0: 'gone.png'\); w",
        ),
        (pd.DataFrame({"path": ["x"], "label": [{1: 2}]}), "expected text, numbers"),
        (pd.DataFrame([["x", "y"]], columns=["path", "path"]), "column 'path': expected it once"),
        (
            pd.DataFrame({"path": ["x"], "label": pd.to_timedelta(["1 day"])}),
            "column 'label': expected text, numbers or truth values, got Duration",
        ),
        (pl.DataFrame({"label": ["a"]}), "expected columns 'path' and 'label'"),
    ],
)
def test_other_frames_are_refused(tmp_path, frame, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_frame(frame, task="brain", folder=tmp_path)


def test_hints_say_what_a_name_does_not():
    hints = TaskHints(name="grade", kind="ordinal", modality="US", labels=("low", "mid", "high"))
    dataset = of(labels=np.arange(30) % 3, task=hints)
    assert (dataset.task.kind, dataset.task.modality) == ("ordinal", "US")
    assert replace(hints, labels=dataset.task.labels) == hints


def test_one_finding_may_be_a_multilabel_task():
    hints = TaskHints(name="x", kind="multilabel", labels=("finding",))
    dataset = of(labels=np.where(NUMBERS, 1.0, np.nan), task=hints)
    assert dataset.train.labels.shape[1] == 1
    assert np.isnan(dataset.train.labels).any()


def test_texts_of_a_multilabel_task_list_several_labels():
    hints = TaskHints(name="x", kind="multilabel")
    dataset = of(labels=["a|b", "a", "normal"] * 10, task=hints, split=["train"] * 30, needs=())
    assert dataset.task.labels == ("a", "b")
    assert dataset.train.labels[:3].tolist() == [[1, 1], [1, 0], [0, 0]]
    with pytest.raises(DatasetError, match="arrays: kind: expected multiclass, binary, ordinal"):
        of(labels=["a", "b"] * 15, task=hints)


def test_tensors_of_half_precision_are_images_too():
    half = (torch.from_numpy(GREYS) / 255).bfloat16()
    assert sum(len(of(half).split(name)) for name in SPLITS) == 30


def test_a_picture_that_is_read_stays_as_it_was():
    picture = Pillow.fromarray(GREYS[0])
    picture.info["transparency"] = 3
    assert as_image(picture).pixels.shape == (1, 8, 9)
    assert picture.info == {"transparency": 3}
