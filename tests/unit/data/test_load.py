"""Data sets: what each source means, how it is split, and what is said where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego.data import SPLITS, TaskHints, load_dataset
from medlego.data.label_text import near_spellings
from medlego.data.readers import npz as reader
from medlego.data.samples import FileImages
from medlego.data.task import MAX_LABELS
from medlego.errors import DatasetError
from medlego.images import image_files


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    return path


def folder(path: Path, classes: Sequence[str] = ("cat", "dog"), count: int = 20) -> Path:
    for name in classes:
        for number in range(count):
            draw(path / name / f"{number}.png")
    return path


def manifest(path: Path, header: str, *rows: str) -> Path:
    for name in {"x.png", *(row.split(",")[0] for row in rows if row.startswith("x"))}:
        draw(path.parent / name)
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def npz(
    path: Path, labels: object = ((0,), (1,), (1,)), drop: str = "", **others: np.ndarray
) -> Path:
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        arrays[f"{split}_labels"] = np.array(labels)
        arrays[f"{split}_images"] = np.zeros((len(np.array(labels)), 4, 4), np.uint8)
    arrays |= others
    arrays.pop(drop, None)
    np.savez(path, **arrays)
    return path


def sizes(source: Path, **hints: object) -> dict[str, int]:
    dataset = load_dataset(source, TaskHints(**hints))  # type: ignore[arg-type]
    return {name: len(dataset.split(name)) for name in SPLITS}


# folders ----------------------------------------------------------------------------------------


def test_folder_per_class_names_the_labels(tmp_path: Path) -> None:
    task = load_dataset(folder(tmp_path / "pets", ("dog", "cat", "ant"))).task
    assert (task.name, task.kind, task.labels) == ("pets", "multiclass", ("ant", "cat", "dog"))


def test_two_classes_are_binary(tmp_path: Path) -> None:
    assert load_dataset(folder(tmp_path / "pets")).task.kind == "binary"


def test_folder_s_images_have_their_folder_s_label(tmp_path: Path) -> None:
    train = load_dataset(folder(tmp_path / "pets")).train
    assert isinstance(train.images, FileImages)
    names = [("cat", "dog")[label] for label in train.labels]
    assert [path.parent.name for path in train.images.paths] == names


def test_images_in_deeper_folders_count(tmp_path: Path) -> None:
    folder(tmp_path / "pets")
    draw(tmp_path / "pets" / "cat" / "deep" / "er" / "x.PNG")
    assert sum(sizes(tmp_path / "pets").values()) == 41


def test_folder_without_splits_is_split_7_1_2(tmp_path: Path) -> None:
    assert sizes(folder(tmp_path / "pets")) == {"train": 28, "val": 4, "test": 8}


def test_folder_s_own_splits_are_kept(tmp_path: Path) -> None:
    for name, count in zip(SPLITS, (3, 1, 2), strict=True):
        folder(tmp_path / "pets" / name, count=count)
    assert sizes(tmp_path / "pets") == {"train": 6, "val": 2, "test": 4}


def test_hidden_folders_and_files_are_left_out(tmp_path: Path) -> None:
    folder(tmp_path / "pets")
    draw(tmp_path / "pets" / ".ipynb_checkpoints" / "x.png")
    draw(tmp_path / "pets" / "cat" / ".ipynb_checkpoints" / "x.png")
    draw(tmp_path / "pets" / "cat" / "._0.png")
    assert load_dataset(tmp_path / "pets").task.labels == ("cat", "dog")
    assert sum(sizes(tmp_path / "pets").values()) == 40


def test_files_are_found_below_a_hidden_folder_that_is_named(tmp_path: Path) -> None:
    draw(tmp_path / ".hidden" / "x.png")
    assert image_files(tmp_path / ".hidden") == [tmp_path / ".hidden" / "x.png"]


def test_class_order_can_be_given(tmp_path: Path) -> None:
    dataset = load_dataset(folder(tmp_path / "pets"), TaskHints(labels=("dog", "cat")))
    assert dataset.task.labels == ("dog", "cat")
    assert isinstance(dataset.train.images, FileImages)
    assert dataset.train.images.paths[0].parent.name == ("dog", "cat")[dataset.train.labels[0]]


def test_class_without_images_is_noted(tmp_path: Path) -> None:
    dataset = load_dataset(folder(tmp_path / "pets"), TaskHints(labels=("cat", "dog", "emu")))
    assert dataset.notes == ("no training image of: emu",)


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"pets: expected a sub-folder per class, found 1$"):
        load_dataset(folder(tmp_path / "pets", ("cat",)))


def test_class_that_is_not_among_the_labels_is_refused(tmp_path: Path) -> None:
    rule = r"pets: expected classes cat, emu, got also \['dog'\]$"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(folder(tmp_path / "pets"), TaskHints(labels=("cat", "emu")))


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"pets: expected images, found none"):
        load_dataset(tmp_path / "pets")


def test_folder_with_some_of_the_splits_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "pets" / "train")
    rule = r"pets: expected sub-folders train, val and test, or none of them$"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(tmp_path / "pets")


def test_folder_too_small_to_split_is_refused(tmp_path: Path) -> None:
    rule = r"pets: expected images in split '\w+', got none; add some or drop the split column"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(folder(tmp_path / "pets", count=1))


def test_folder_per_class_is_not_multilabel(tmp_path: Path) -> None:
    rule = r"kind: expected multiclass, binary, ordinal for one label per image, got multilabel;"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(folder(tmp_path / "pets"), TaskHints(kind="multilabel"))


# manifests --------------------------------------------------------------------------------------

PETS = [f"x{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(20)]


def test_manifest_names_labels_and_task(tmp_path: Path) -> None:
    task = load_dataset(manifest(tmp_path / "pets 1.csv", "path,label", *PETS)).task
    assert (task.name, task.kind, task.labels) == ("pets-1", "binary", ("cat", "dog"))


def test_other_columns_are_ignored(tmp_path: Path) -> None:
    rows = [f"{row},whatever" for row in PETS]
    path = manifest(tmp_path / "pets.csv", "path,label,note", *rows)
    assert load_dataset(path).task.labels == ("cat", "dog")


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "\ufeffpath,label", *PETS)
    assert load_dataset(path).task.labels == ("cat", "dog")


def test_paths_are_relative_to_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", *PETS)
    monkeypatch.chdir("/")
    images = load_dataset(path).train.images
    assert isinstance(images, FileImages)
    assert {image.parent for image in images.paths} == {tmp_path}


def test_manifest_s_own_split_is_kept(tmp_path: Path) -> None:
    rows = ["x1.png,cat,train", "x2.png,dog,train", "x3.png,cat,val", "x4.png,dog,test"]
    path = manifest(tmp_path / "pets.csv", "path,label,split", *rows)
    assert sizes(path) == {"train": 2, "val": 1, "test": 1}


def test_rows_without_a_label_are_left_out_and_noted(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", *PETS, "x.png,", "x.png,  ")
    dataset = load_dataset(path)
    assert sum(len(dataset.split(name)) for name in SPLITS) == 20
    assert dataset.notes == ("left out: 2 images without a label",)


def test_images_of_a_patient_stay_in_one_split(tmp_path: Path) -> None:
    rows = [f"x{n}.png,{'cat' if n % 2 else 'dog'},p{n // 4}" for n in range(80)]
    dataset = load_dataset(manifest(tmp_path / "pets.csv", "path,label,patient_id", *rows))
    sides = [set(np.asarray(dataset.split(name).patients).tolist()) for name in SPLITS]
    assert sum(len(side) for side in sides) == len(set.union(*sides)) == 20


def test_empty_cell_of_a_multilabel_manifest_is_unknown(tmp_path: Path) -> None:
    rows = [f"x{s}.png,{a},{b},{s}" for s in SPLITS for a, b in (("1", "0"), ("", "1"))]
    path = manifest(tmp_path / "pets.csv", "path,label_cat,label_dog,split", *rows)
    dataset = load_dataset(path)
    assert (dataset.task.kind, dataset.task.labels) == ("multilabel", ("cat", "dog"))
    np.testing.assert_array_equal(dataset.train.labels, [[1, 0], [np.nan, 1]])


def test_order_of_label_columns_can_be_given(tmp_path: Path) -> None:
    rows = [f"x{s}.png,1,0,{s}" for s in SPLITS]
    path = manifest(tmp_path / "pets.csv", "path,label_cat,label_dog,split", *rows)
    dataset = load_dataset(path, TaskHints(labels=("dog", "cat")))
    assert dataset.task.labels == ("dog", "cat")
    np.testing.assert_array_equal(dataset.train.labels, [[0, 1]])


@pytest.mark.parametrize(
    ("header", "rows", "rule"),
    [
        ("path,class", PETS, r"'path' and 'label' .* in place of 'path', got path, class; name o"),
        ("file,label", PETS, r"'path' and 'label' .* in place of 'path', got file, label; name o"),
        ("path;label", PETS, r"row 2: expected 2 cells, got 1"),
        ("path,label", [], r"expected a header and at least one row, got none$"),
        ("", [], r"expected a header and at least one row, got none$"),
        ("path,label", ["x.png,"], r"expected at least one labelled row, got none$"),
        ("path,label", [*PETS, "x.png,cat,more"], r"row 22: expected 2 cells, got 3$"),
        ("path,label", ["y.png,cat"] * 2, r"each row, found none for all 2 \(row 2: 'y\.png'\); w"),
        ("path,label", [",cat"], r"each row, found none for all 1 \(row 2: "),
        ("path,label", [f"{'y' * 5000},cat"], r"found none for all 1 \(row 2: 'y{100}'\); where"),
        ("path,label", [f"{'y' * 200_000},cat"], r"expected UTF-8 CSV with a header \(field larg"),
        ("path,label,patient_id", ["x.png,cat,", "x.png,dog,p"], r"patient_id: expected a value"),
        ("path,label,split", ["x.png,cat,", "x.png,dog,val"], r"split: expected a value in every"),
        ("path,label,split", ["x.png,cat,vault", "x.png,dog,val"], r"split: expected train, val, "),
        ("path,label,split", ["x.png,cat,train", "x1.png,dog,val"], r"in split 'test', got none"),
        ("path,label", ["x.png,cat"] * 20, r"labels: expected at least 2 for a multiclass task"),
        ("path,label_a,label_b", ["x.png,1,yes"], r"row 2, label_b: expected 1, 0, -1 or n"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, header: str, rows: list[str], rule: str) -> None:
    path = manifest(tmp_path / "pets.csv", header, *rows)
    with pytest.raises(DatasetError, match=rule) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(str(path))


def test_a_patient_in_two_splits_is_refused_by_row_and_not_by_name(tmp_path: Path) -> None:
    rows = ["x.png,,Ann,train", "x.png,cat,Bob,train", "x.png,dog,Bob,test", "x.png,dog,Eve,val"]
    path = manifest(tmp_path / "pets.csv", "path,label,patient_id,split", *rows)
    rule = r"split: expected each patient in one split, got 1 in several \(rows 3, 4\); keep"
    with pytest.raises(DatasetError, match=rule) as caught:
        load_dataset(path)
    assert "Bob" not in str(caught.value)


def test_a_file_in_two_splits_is_refused_by_row(tmp_path: Path) -> None:
    rows = ["x1.png,cat,train", "x.png,dog,train", "./x.png,dog,test", "x2.png,cat,val"]
    path = manifest(tmp_path / "pets.csv", "path,label,split", *rows)
    rule = r"split: expected each image in one split, got 1 in several \(rows 3, 4\); keep"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(path)
    assert load_dataset(path, keep_torn=True).test.labels.tolist() == [1]


def test_rows_of_one_file_stay_in_one_split(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", *PETS, *PETS)
    dataset = load_dataset(path)
    sides = []
    for name in SPLITS:
        images = dataset.split(name).images
        assert isinstance(images, FileImages)
        sides.append(set(images.paths))
    assert sum(len(side) for side in sides) == len(set.union(*sides)) == 20
    assert dataset.train.patients is None


def test_rows_are_numbered_as_in_the_file_where_some_are_left_out(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", "x.png,", "x.png,", "y.png,dog")
    with pytest.raises(DatasetError, match=r"\(row 4: 'y\.png'\)"):
        load_dataset(path)


def test_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("path,label\nx.png,ä".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"x\.csv: expected UTF-8 CSV with a header \("):
        load_dataset(tmp_path / "x.csv")


def test_missing_files_are_counted_and_the_others_are_read(tmp_path: Path) -> None:
    rows = [f"y{number}.png,{'emu' if number % 2 else 'dog'}" for number in range(8)]
    path = manifest(tmp_path / "pets.csv", "path,label", rows[0], *PETS, *rows[1:])
    dataset = load_dataset(path)
    assert sum(len(dataset.split(name)) for name in SPLITS) == len(PETS)
    left_out, gone = dataset.notes
    assert left_out.startswith(
        f"left out: 8 of 28 rows without a file below {tmp_path} (rows 2, 23"
    )
    assert left_out.endswith(", 24, 25, 26 and 3 more)")
    assert gone == "no image is there of label emu"


def test_broken_images_of_a_table_stop_nothing(tmp_path: Path) -> None:
    path = manifest(
        tmp_path / "pets.csv", "path,label", *PETS, "b.dcm,cat", "c.png,cat", "e.png,dog"
    )
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"x" * 50)
    (tmp_path / "c.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "e.png").write_bytes(b"")
    dataset = load_dataset(path)
    assert dataset.notes == ("left out: 1 DICOM files without pixels",)
    assert sum(len(dataset.split(name)) for name in SPLITS) == len(PETS) + 2


def test_label_that_is_not_among_the_given_is_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", *PETS)
    with pytest.raises(
        DatasetError, match=r"expected one of cat, emu, got also 'dog' \(first in r"
    ):
        load_dataset(path, TaskHints(labels=("cat", "emu")))


def test_given_labels_that_are_not_the_columns_are_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label_cat,label_dog", "x.png,1,0")
    rule = r"labels: expected those of the columns, cat, dog, got cat, emu$"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(path, TaskHints(labels=("cat", "emu")))


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("path,label", "x.png,cat", "multilabel"),
        ("path,label_cat,label_dog", "x.png,1,0", "multiclass"),
        ("path,label_cat,label_dog", "x.png,1,0", "binary"),
    ],
)
def test_kind_that_contradicts_the_columns_is_refused(
    tmp_path: Path, header: str, row: str, kind: str
) -> None:
    path = manifest(tmp_path / "pets.csv", header, row)
    with pytest.raises(DatasetError, match=rf"kind: expected .*, got {kind}; leave the kind out$"):
        load_dataset(path, TaskHints(kind=kind))


# npz --------------------------------------------------------------------------------------------


def test_npz_with_one_column_is_one_label_per_image(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path / "x.npz", [[0], [2], [1]]))
    assert dataset.task.kind == "multiclass"
    assert dataset.task.labels == ("class 0", "class 1", "class 2")
    assert dataset.train.labels.tolist() == [0, 2, 1]
    assert dataset.train.labels.dtype == np.int64


def test_npz_with_several_columns_is_multilabel(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path / "x.npz", [[0.0, 1.0], [np.nan, 0.0]]))
    assert dataset.task.kind == "multilabel"
    np.testing.assert_array_equal(dataset.train.labels, [[0, 1], [np.nan, 0]])
    assert dataset.train.labels.dtype == np.float32


def test_npz_names_its_classes(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", class_names=np.array(["no", "yes"]))
    task = load_dataset(path).task
    assert (task.kind, task.labels) == ("binary", ("no", "yes"))


def test_given_labels_win_over_the_file_s(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", class_names=np.array(["no", "yes"]))
    assert load_dataset(path, TaskHints(labels=("a", "b"))).task.labels == ("a", "b")


def test_single_finding_can_be_multilabel(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", [[0.0], [np.nan], [1.0]])
    dataset = load_dataset(path, TaskHints(kind="multilabel", labels=("finding",)))
    np.testing.assert_array_equal(dataset.train.labels, [[0], [np.nan], [1]])


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 3)])
def test_npz_s_images_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    train = load_dataset(npz(tmp_path / "x.npz", train_images=array)).train
    pixels = train.images[1].pixels.numpy()
    expected = (array[1] if array.ndim == 4 else array[1][..., None]).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-7)


WRONG_ARRAYS: Mapping[str, tuple[np.ndarray, str]] = {
    "floating point": (np.zeros((3, 4, 4), np.float32), r"expected uint8 \(N, h, w\) or "),
    "four channels": (np.zeros((3, 4, 4, 4), np.uint8), r"expected uint8 \(N, h, w\) or "),
    "one axis": (np.zeros(3, np.uint8), r"expected uint8 \(N, h, w\) or "),
    "no pixels": (np.zeros((3, 0, 4), np.uint8), r"expected uint8 \(N, h, w\) or "),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_wrong_images_are_refused(tmp_path: Path, name: str) -> None:
    array, rule = WRONG_ARRAYS[name]
    with pytest.raises(DatasetError, match=rf"x\.npz: train_images: {rule}"):
        load_dataset(npz(tmp_path / "x.npz", train_images=array))


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        ([0, 1], r"train_labels: expected one row per image \(3\), got \(2,\)"),
        ([[[0]], [[1]], [[1]]], r"train_labels: expected one row per image \(3\), got \(3, 1, 1\)"),
        (["a", "b", "c"], r"train_labels: expected numbers, got <U1"),
        ([0, 1, -1], rf"train_labels: expected numbers from 0 to {MAX_LABELS - 1}"),
        ([0, 1, np.inf], rf"train_labels: expected numbers from 0 to {MAX_LABELS - 1}"),
        ([0, 1, 10**9], rf"train_labels: expected numbers from 0 to {MAX_LABELS - 1}"),
        ([0, 1, np.nan], r"train_labels: expected whole numbers 0 to 1 for 2 labels"),
        ([0, 1, 0.5], r"train_labels: expected whole numbers 0 to 1 for 2 labels; subtract 1"),
        ([[0, 1]] * 3, r"labels: expected as many columns in every split, got \[1, 2\]"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, labels: object, rule: str) -> None:
    path = npz(tmp_path / "x.npz", train_labels=np.array(labels))
    with pytest.raises(DatasetError, match=rf"^{path}: {rule}"):
        load_dataset(path)


def test_multilabel_values_other_than_0_and_1_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", [[0, 2], [1, 1]])
    with pytest.raises(DatasetError, match=r"train_labels: expected 0, 1 or NaN for 2 labels$"):
        load_dataset(path)


@pytest.mark.parametrize("key", ["train_images", "val_labels"])
def test_missing_array_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(DatasetError, match=rf"x\.npz: {key}: missing$"):
        load_dataset(npz(tmp_path / "x.npz", drop=key))


def test_too_few_label_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"x\.npz: expected 2 label names, got 1; labels count from 0$"
    ):
        load_dataset(npz(tmp_path / "x.npz"), TaskHints(labels=("a",)))


@pytest.mark.parametrize(
    "names", [np.array("ab"), np.array([b"a", b"b"]), np.array([["a", "b"]]), np.arange(2)]
)
def test_class_names_that_are_no_row_of_text_are_refused(tmp_path: Path, names: np.ndarray) -> None:
    with pytest.raises(DatasetError, match=r"class_names: expected a row of text, got "):
        load_dataset(npz(tmp_path / "x.npz", class_names=names))


def test_columns_are_not_one_label_per_image(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", [[0, 1], [1, 1]])
    rule = r"kind: expected multilabel for a column per label, got multiclass; leave the kind out$"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(path, TaskHints(kind="multiclass"))


def test_split_without_images_is_refused(tmp_path: Path) -> None:
    none, labels = np.zeros((0, 4, 4), np.uint8), np.zeros((0, 1), np.uint8)
    path = npz(tmp_path / "x.npz", val_images=none, val_labels=labels)
    with pytest.raises(DatasetError, match=r"expected images in split 'val', got none"):
        load_dataset(path)


BROKEN = r"x\.npz: expected a whole \.npz without pickled objects, got another \(\w+\); fetch it"


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"PK\x03\x04" + bytes(60), b"\x93NUMPY"],
    ids=["empty", "text", "zip", "npy"],
)
def test_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=BROKEN):
        load_dataset(tmp_path / "x.npz")


def test_single_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DatasetError, match=BROKEN):
        load_dataset(tmp_path / "x.npz")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match=BROKEN):
        load_dataset(tmp_path / "x.npz")


def test_npz_that_expands_beyond_reason_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SMALL_BYTES", 1 << 20)
    path = npz(tmp_path / "x.npz", train_images=np.zeros((3, 1000, 1000), np.uint8))
    assert len(load_dataset(path).train) == 3
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)
    with pytest.raises(DatasetError, match=r"x\.npz: expected arrays at most 100 times as large"):
        load_dataset(path)


def test_arrays_of_an_npz_that_nobody_asks_for_stay_unread(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", other=np.array([{}], dtype=object))
    assert len(load_dataset(path).train) == 3


def test_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=BROKEN):
        load_dataset(path)


# sources ----------------------------------------------------------------------------------------


def test_missing_source_is_refused(tmp_path: Path) -> None:
    rule = r"x: expected a folder, a table \(.*\) or a \.npz, found nothing there; ch"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(tmp_path / "x")


@pytest.mark.parametrize(("name", "got"), [("x.txt", r"\.txt"), ("x", "a file")])
def test_other_files_are_refused(tmp_path: Path, name: str, got: str) -> None:
    (tmp_path / name).write_bytes(b"")
    rule = rf"{name}: expected a folder, a table \(.*\) or a \.npz, got {got}$"
    with pytest.raises(DatasetError, match=rule):
        load_dataset(tmp_path / name)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path / "x.npz"))
    with pytest.raises(DatasetError, match=r"^split: expected one of train, val, test, got 'all'$"):
        dataset.split("all")


def test_hints_describe_the_task(tmp_path: Path) -> None:
    hints = TaskHints("mine", "ordinal", ("low", "high"), "US", "BREAST")
    task = load_dataset(npz(tmp_path / "x.npz"), hints).task
    assert (task.name, task.kind, task.labels) == ("mine", "ordinal", ("low", "high"))
    assert (task.modality, task.body_part) == ("US", "BREAST")


@pytest.mark.parametrize(
    ("hints", "field"),
    [
        (TaskHints(name="a/b"), "name"),
        (TaskHints(modality="ultrasound"), "modality"),
        (TaskHints(body_part="Breast"), "body_part"),
    ],
)
def test_hint_that_no_task_can_have_is_refused(
    tmp_path: Path, hints: TaskHints, field: str
) -> None:
    with pytest.raises(DatasetError, match=rf"x\.npz: {field}: "):
        load_dataset(npz(tmp_path / "x.npz"), hints)


@pytest.mark.parametrize(
    ("rare", "common", "hinted"),
    [
        ("claer", "clear", True),
        ("Cardiomegly", "Cardiomegaly", True),
        ("pleural efusion", "pleural effusion", True),
        ("no_finding", "No finding", True),
        ("T1", "T2", False),
        ("T1a", "T1b", False),
        ("grade_1", "grade_2", False),
        ("grade_1", "grade_10", False),
        ("stage III", "stage II", False),
        ("1-2", "12", False),
        ("cat", "car", False),
        ("atypical", "typical", False),
        ("abnormal", "normal", False),
        ("hypoplasia", "hyperplasia", False),
        ("+", "-", False),
        ("left lung", "right lung", False),
    ],
)
def test_a_rare_label_that_is_almost_another_is_hinted_at(
    rare: str, common: str, hinted: bool
) -> None:
    assert bool([*near_spellings({rare: 1, common: 50})]) is hinted
    assert bool([*near_spellings({common: 50, rare: 1})]) is hinted


def test_two_frequent_labels_of_like_spelling_are_no_typing_error() -> None:
    assert [*near_spellings({"adenoma": 40, "adenomas": 50})] == []
    assert len([*near_spellings({"Cat": 40, "cat": 50})]) == 1


@pytest.mark.parametrize(
    "names", [("grade_2", "grade_10"), ("2", "10"), ("-1", "0.5"), ("2", "b10")]
)
def test_classes_of_a_scale_go_by_their_numbers(tmp_path: Path, names: tuple[str, ...]) -> None:
    hints = TaskHints(kind="ordinal")
    assert load_dataset(folder(tmp_path / "x", names), hints).task.labels == names
    rows = [f"{name}/{number}.png,{name}" for name in names for number in range(20)]
    (tmp_path / "x" / "x.csv").write_text("\n".join(["path,label", *rows]))
    assert load_dataset(tmp_path / "x" / "x.csv", hints).task.labels == names


def test_a_file_of_two_patients_is_refused_by_row(tmp_path: Path) -> None:
    rows = [f"{row},{number}" for number, row in enumerate(PETS)]
    path = manifest(tmp_path / "pets.csv", "path,label,patient_id", *rows, "./x3.png,cat,77")
    with pytest.raises(DatasetError, match=r"one for each file, got several \(rows 5, 22\); corr"):
        load_dataset(path)
    assert load_dataset(path, keep_torn=True).notes[0].endswith("(rows 5, 22); correct them")


def test_a_file_with_two_labels_is_noted_by_row(tmp_path: Path) -> None:
    path = manifest(tmp_path / "pets.csv", "path,label", *PETS, "x3.png,dog", "x3.png,cat")
    (note,) = load_dataset(path).notes
    assert note.startswith("1 rows contradict the label that an earlier row gives their file (rows")
    many = manifest(tmp_path / "many.csv", "path,label_a", "x.png,1", "x.png,", "x.png,0")
    assert "(rows 4)" in load_dataset(many, needs=()).notes[0]
