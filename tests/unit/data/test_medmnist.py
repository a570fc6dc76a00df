"""MedMNIST by name: what is known about each set, and where its file goes."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlego.data import Task, TaskHints, load_dataset
from medlego.data.medmnist import data_sets, fetch, fetch_file, resolve
from medlego.errors import DatasetError, DownloadError
from website import serve

NAMES = [
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
]


def test_sets_are_the_twelve() -> None:
    assert list(data_sets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_entry_makes_a_task(name: str) -> None:
    entry = data_sets()[name]
    hints = entry.complete(TaskHints())
    task = Task(
        name=str(hints.name),
        kind=str(hints.kind),
        labels=hints.labels or (),
        modality=hints.modality,
        body_part=hints.body_part,
    )
    assert (task.name, task.labels) == (name, entry.labels)
    assert list(entry.md5) == [28, 64, 128, 224]
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in entry.md5.values())


def test_checksums_are_all_different() -> None:
    assert len({md5 for entry in data_sets().values() for md5 in entry.md5.values()}) == 48


def test_kinds_are_multiclass_but_for_four() -> None:
    others = {n: e.kind for n, e in data_sets().items() if e.kind != "multiclass"}
    assert others == {
        "breastmnist": "binary",
        "pneumoniamnist": "binary",
        "chestmnist": "multilabel",
        "retinamnist": "ordinal",
    }


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("breastmnist", ("malignant", "normal, benign")),
        ("pneumoniamnist", ("normal", "pneumonia")),
        ("retinamnist", ("0", "1", "2", "3", "4")),
    ],
)
def test_label_order_is_that_of_the_files(name: str, labels: tuple[str, ...]) -> None:
    assert data_sets()[name].labels == labels


def test_spec_without_a_size_means_the_smallest() -> None:
    entry, size = resolve("breastmnist")
    assert (entry.name, size, entry.file_name(size)) == ("breastmnist", 28, "breastmnist.npz")


def test_spec_with_a_size_names_another_file() -> None:
    entry, size = resolve("breastmnist:224")
    assert (size, entry.file_name(size)) == (224, "breastmnist_224.npz")


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("brestmnist", "got 'brestmnist'; did you mean 'breastmnist'\\?$"),
        ("BreastMNIST:64", "got 'BreastMNIST'; did you mean 'breastmnist'\\?$"),
        ("", "expected one of the 2D sets pathmnist, .*, got ''; choose one of them$"),
        ("breastmnist:", "expected a size of 28, 64, 128, 224, got ''; write"),
        ("breastmnist:32", "^medmnist:breastmnist:32: expected a size of .*, got '32'; write"),
        ("breastmnist:064", "got '064'"),
        ("breastmnist:64:64", "got '64:64'"),
    ],
)
def test_unknown_name_or_size_is_an_input_error(spec: str, rule: str) -> None:
    with pytest.raises(DatasetError, match=rule):
        load_dataset(f"medmnist:{spec}")


def test_hints_are_completed() -> None:
    assert data_sets()["breastmnist"].complete(TaskHints()) == TaskHints(
        "breastmnist", "binary", ("malignant", "normal, benign"), "US", "BREAST"
    )


def test_callers_hints_win() -> None:
    said = TaskHints("mine", "multiclass", ("bad", "good"), "OT", "CHEST")
    assert data_sets()["breastmnist"].complete(said) == said


def test_one_hint_of_the_callers_leaves_the_rest_to_the_table() -> None:
    hints = data_sets()["organamnist"].complete(TaskHints(name="organs"))
    assert (hints.name, hints.modality, len(hints.labels or ())) == ("organs", "CT", 11)


def test_files_go_below_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_bytes(b"not a folder")
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path / "cache"))
    folder = re.escape(str(tmp_path / "cache" / "medmnist"))
    with pytest.raises(
        DownloadError, match=rf"^bloodmnist_64\.npz: expected to store it in {folder},"
    ):
        fetch("bloodmnist:64", TaskHints())


def test_fetched_file_reads_as_its_task(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = random.integers(0, 256, (4, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [1], [1], [0]], dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    content = stream.getvalue()
    entry = data_sets()["breastmnist"]
    tiny = replace(entry, md5={64: hashlib.md5(content).hexdigest()})
    with serve() as site:
        site.content = content
        path = fetch_file(tiny, 64, tmp_path, base_url=site.url.removesuffix("/file.npz"))
    dataset = load_dataset(path, tiny.complete(TaskHints()))
    assert path == tmp_path / "breastmnist_64.npz"
    assert dataset.task == Task(
        name="breastmnist",
        kind="binary",
        labels=("malignant", "normal, benign"),
        modality="US",
        body_part="BREAST",
    )
    assert dataset.train.labels.tolist() == [0, 1, 1, 0]
