"""Labels renamed by a table: by name, by code, and unknown rather than negative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlego.data import (
    SPLITS,
    ArrayImages,
    Dataset,
    LabelMap,
    Samples,
    Task,
    TaskHints,
    load_dataset,
)
from medlego.data.label_map import map_labels
from medlego.data.task import Code
from medlego.errors import DatasetError


def table(path: Path, *rows: str, header: str = "from,to") -> LabelMap:
    (path / "map.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return LabelMap.load(path / "map.csv")


def single(*labels: str, codes: tuple[Code | None, ...] | None = None) -> Dataset:
    """Every label once in every split, in order."""
    task = Task(name="chest", kind="multiclass", labels=labels, codes=codes)
    count = len(labels)
    images = ArrayImages(np.zeros((count, 2, 2), np.uint8))
    return Dataset.of(task, {s: Samples(images, np.arange(count)) for s in SPLITS})


def multi(labels: tuple[str, ...], rows: object) -> Dataset:
    values = np.array(rows, np.float32)
    task = Task(name="chest", kind="multilabel", labels=labels)
    images = ArrayImages(np.zeros((len(values), 2, 2), np.uint8))
    return Dataset.of(task, {s: Samples(images, values) for s in SPLITS})


PNEUMONIA = Code(scheme="SCT", value="233604007", meaning="Pneumonia")
KNOWN = TaskHints("chest", "binary", ("clear", "pneumonia"), codes=(None, PNEUMONIA))


def test_labels_are_matched_by_name_and_not_by_index(tmp_path: Path) -> None:
    mapped = map_labels(
        single("infiltrate", "no finding"),
        table(tmp_path, "infiltrate,pneumonia", "no finding,clear"),
        KNOWN,
    )
    assert mapped.task.labels == ("clear", "pneumonia")
    assert mapped.train.labels.tolist() == [1, 0]


def test_a_label_of_the_task_may_be_written_as_its_code(tmp_path: Path) -> None:
    mapped = map_labels(
        single("infiltrate", "clear"), table(tmp_path, "infiltrate,SCT:233604007"), KNOWN
    )
    assert mapped.train.labels.tolist() == [1, 0]


def test_data_labelled_by_code_match_the_task_s_code(tmp_path: Path) -> None:
    mapped = map_labels(single("SCT:233604007", "x"), table(tmp_path, "x,clear"), KNOWN)
    assert mapped.train.labels.tolist() == [1, 0]


def test_a_label_of_the_data_may_be_written_as_its_code(tmp_path: Path) -> None:
    dataset = single("Pneumonie", "clear", codes=(PNEUMONIA, None))
    mapped = map_labels(dataset, table(tmp_path, "SCT:233604007,pneumonia"), KNOWN)
    assert mapped.train.labels.tolist() == [1, 0]


def test_labels_without_a_row_keep_their_names(tmp_path: Path) -> None:
    mapped = map_labels(single("a", "b", "c"), table(tmp_path, "a,z"), TaskHints())
    assert mapped.task.labels == ("z", "b", "c")


def test_several_labels_may_become_one(tmp_path: Path) -> None:
    mapped = map_labels(single("a", "b", "c"), table(tmp_path, "a,c", "b,z"), TaskHints())
    assert (mapped.task.labels, mapped.task.kind) == (("c", "z"), "binary")
    assert mapped.train.labels.tolist() == [0, 1, 0]


def test_images_of_an_unknown_label_are_left_out_with_a_note(tmp_path: Path) -> None:
    mapped = map_labels(single("clear", "mass", "pneumonia"), table(tmp_path, "x,clear"), KNOWN)
    assert mapped.train.labels.tolist() == [0, 1]
    assert len(mapped.train.images) == 2
    assert mapped.notes == (
        "left out: 3 images of mass, unknown to the task",
        "in the table of labels and not in the data: x",
    )


def test_a_label_mapped_to_nothing_is_not_used(tmp_path: Path) -> None:
    mapped = map_labels(single("a", "b", "c"), table(tmp_path, "c,"), TaskHints())
    assert (mapped.task.labels, mapped.train.labels.tolist()) == (("a", "b"), [0, 1])


def test_what_a_multilabel_task_is_not_told_is_unknown_and_not_negative(tmp_path: Path) -> None:
    hints = TaskHints("chest", "multilabel", ("mass", "edema"))
    dataset = multi(("tumour", "other"), [[1, 1], [0, 1]])
    mapped = map_labels(dataset, table(tmp_path, "tumour,mass"), hints)
    np.testing.assert_array_equal(mapped.train.labels, [[1, np.nan], [0, np.nan]])
    assert mapped.notes == ("labels that the task does not know: other",)


def test_merged_findings_are_absent_only_where_all_are(tmp_path: Path) -> None:
    rows = [[1, 0], [1, np.nan], [0, 0], [0, np.nan], [np.nan, np.nan]]
    dataset = multi(("a", "b"), rows)
    mapped = map_labels(dataset, table(tmp_path, "a,z", "b,z"), TaskHints(kind="multilabel"))
    np.testing.assert_array_equal(mapped.train.labels[:, 0], [1, 1, 0, np.nan, np.nan])


def test_a_task_s_own_row_wins_over_one_for_all(tmp_path: Path) -> None:
    rows = table(tmp_path, "a,y,", "a,z,chest", "b,x,head", header="from,to,task")
    assert map_labels(single("a", "b"), rows, TaskHints()).task.labels == ("z", "b")


def test_a_row_that_leads_to_no_label_of_the_task_is_refused(tmp_path: Path) -> None:
    rule = r"map\.csv: row 2: to: expected one of clear, pneumonia or a code .* got 'pneumnia'$"
    with pytest.raises(DatasetError, match=rule):
        map_labels(single("x", "clear"), table(tmp_path, "x,pneumnia"), KNOWN)


def test_too_few_labels_after_the_mapping_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"labels: expected at least 2 for a multiclass task aft"
    ):
        map_labels(single("a", "b"), table(tmp_path, "a,b"), TaskHints())


@pytest.mark.parametrize(
    ("header", "rows", "rule"),
    [
        ("from", ["a"], r"expected columns 'from', 'to' and perhaps 'task', got from$"),
        ("from,to,index", ["a,b,1"], r"expected columns 'from', 'to' and perhaps 'task'"),
        ("from,to", ["a,b", "a,c"], r"row 3: from: expected each label once, got 'a' again$"),
        ("from,to", [",b"], r"row 2: from: expected a label, got none$"),
        ("from,to", [], r"expected a header and at least one row, got none$"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, header: str, rows: list[str], rule: str) -> None:
    with pytest.raises(DatasetError, match=rule):
        table(tmp_path, *rows, header=header)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a table of labels, found nothing there$"):
        LabelMap.load(tmp_path / "map.csv")


def test_load_dataset_orders_the_labels_as_hints_say_after_the_mapping(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        arrays[f"{split}_images"] = np.zeros((3, 4, 4), np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [1], [2]])
    np.savez(tmp_path / "x.npz", class_names=np.array(["a", "b", "c"]), **arrays)
    rows = table(tmp_path, "a,low", "b,high", "c,high")
    hints = TaskHints(kind="ordinal", labels=("low", "high"))
    dataset = load_dataset(tmp_path / "x.npz", hints, label_map=rows)
    assert (dataset.task.kind, dataset.task.labels) == ("ordinal", ("low", "high"))
    assert dataset.test.labels.tolist() == [0, 1, 1]
