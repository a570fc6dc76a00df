"""Tables of labels: what is read from CSV and Parquet, and what is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from medlego.data import SPLITS, load_dataset
from medlego.data.readers import table
from medlego.data.readers.table import read_table
from medlego.data.samples import FileImages
from medlego.errors import DatasetError

MANY = [f"{number}.png" for number in range(40)]


def draw(folder: Path) -> None:
    for name in ("x.png", *MANY):
        Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(folder / name)


def parquet(path: Path, /, **columns: object) -> Path:
    draw(path.parent)
    pl.DataFrame(columns).write_parquet(path)
    return path


def csv(path: Path, text: str) -> Path:
    draw(path.parent)
    path.write_text(text, encoding="utf-8")
    return path


def test_parquet_means_what_the_same_csv_means(tmp_path: Path) -> None:
    rows = {"path": MANY, "label": ["cat", "dog"] * 20, "site": ["a"] * 30 + ["b"] * 10}
    parquet(tmp_path / "pets.parquet", **rows)
    pl.DataFrame(rows).write_csv(tmp_path / "pets.csv")
    first, second = (load_dataset(tmp_path / f"pets.{end}") for end in ("parquet", "csv"))
    assert first.task == second.task
    for split in SPLITS:
        one, other = first.split(split), second.split(split)
        assert one.labels.tolist() == other.labels.tolist()
        assert one.groups["site"].tolist() == other.groups["site"].tolist()


def test_whole_numbers_stored_as_floating_point_are_labels(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet",
        path=MANY[:3],
        split=list(SPLITS),
        label_a=[1.0, None, float("nan")],
        label_b=[True, False, None],
    )
    dataset = load_dataset(path)
    labels = np.concatenate([dataset.split(s).labels for s in SPLITS])
    np.testing.assert_array_equal(labels, [[1, 1], [np.nan, 0], [np.nan, np.nan]])
    assert dataset.task.kind == "multilabel"


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_patient_in_parquet_is_refused(tmp_path: Path, value: float | None) -> None:
    path = parquet(
        tmp_path / "x.parquet", path=["x.png"] * 2, label=["a", "b"], patient_id=[1.0, value]
    )
    with pytest.raises(DatasetError, match=r"patient_id: expected a value in every row, none in "):
        load_dataset(path)


@pytest.mark.parametrize("cell", ["nan", "NaN", " NAN "])
def test_nan_as_patient_id_is_no_patient(tmp_path: Path, cell: str) -> None:
    path = csv(tmp_path / "x.csv", f"path,label,patient_id\nx.png,a,{cell}\nx.png,b,p\n")
    with pytest.raises(DatasetError, match=r"patient_id: expected a value in every row"):
        load_dataset(path)


def test_nan_as_label_is_unknown(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,1,NaN,{split}\n" for i, split in enumerate(SPLITS))
    dataset = load_dataset(csv(tmp_path / "x.csv", f"path,label_a,label_b,split\n{rows}"))
    np.testing.assert_array_equal(dataset.train.labels, [[1, np.nan]])


def test_numbers_and_dates_are_text(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1, 20], "b": [date(2026, 1, 2), None], "c": [0.5, 2.0]}).write_parquet(path)
    columns = read_table(path).columns
    assert columns == {"a": ("1", "20"), "b": ("2026-01-02", ""), "c": ("0.5", "2")}


def test_columns_of_no_use_may_hold_anything(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet",
        path=MANY[:3],
        label=["a", "b", "a"],
        split=list(SPLITS),
        boxes=[[1, 2], [3], []],
    )
    assert load_dataset(path).task.labels == ("a", "b")


def test_a_list_for_a_label_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", path=["x.png"], label=[["a", "b"]])
    with pytest.raises(DatasetError, match=r"column 'label': expected text, numbers or truth"):
        load_dataset(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\nx.png,a\n", b"PAR1" + bytes(99)])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.parquet: expected a whole Parquet file, got anoth"):
        load_dataset(tmp_path / "x.parquet")


def test_damaged_parquet_is_read_or_refused_and_never_anything_else(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", path=["x.png"] * 50, label=["a", "b"] * 25)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for number in range(120):
        content = bytearray(whole)
        for place in random.integers(0, len(content), 3):
            content[place] = random.integers(256)
        path.write_bytes(content[: random.integers(len(content))] if number % 3 else content)
        try:
            read_table(path)
        except DatasetError:
            refused += 1
    assert refused > 60


def test_an_empty_parquet_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", path=[], label=[])
    with pytest.raises(DatasetError, match=r"expected a header and at least one row, got none"):
        load_dataset(path)


def test_a_parquet_that_ends_the_process_that_reads_it_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", path=["x.png"] * 12, label=["a", "b"] * 6)
    counts = b",\x15\x18\x15"  # 12 values in a page; 0x53 is -42, for which memory is asked
    content = path.read_bytes()
    assert counts in content
    path.write_bytes(content.replace(counts, b",\x15\x53\x15"))
    with pytest.raises(DatasetError, match=r"expected a whole Parquet file, got another"):
        load_dataset(path)


def test_too_long_a_parquet_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlego.data.readers.table.MAX_ROWS", 3)
    path = parquet(tmp_path / "x.parquet", path=["x.png"] * 4, label=["a", "b"] * 2)
    with pytest.raises(DatasetError, match=r"expected at most 3 rows, got more; split it"):
        load_dataset(path)


def test_a_parquet_whose_few_bytes_become_many_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "x.parquet", path=["x.png"] * 500, label=["y" * 10_000] * 500)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(table, "MAX_TEXT_BYTES", 1_000_000)
    with pytest.raises(DatasetError, match=r"expected at most 1,000,000 bytes of text, got 5,002,"):
        load_dataset(path)


def test_a_row_with_too_few_cells_is_named(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "path,label,patient_id\nx.png,a,p\nx.png,b\n")
    with pytest.raises(DatasetError, match=r"row 3: expected 3 cells, got 2$"):
        load_dataset(path)


def test_empty_lines_do_not_shift_the_rows_that_are_named(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "path,label\n\n\ngone.png,b\n")
    with pytest.raises(DatasetError, match=r"x\.csv: .* \(row 4: 'gone\.png'\)"):
        load_dataset(path)


def test_a_folder_for_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DatasetError, match=r"x\.csv: expected a file to read, got Is a directory"):
        load_dataset(f"{tmp_path / 'x.csv'}@{tmp_path}")


@pytest.mark.parametrize("column", ["group_note", "patient_id"])
def test_a_long_text_is_no_group_and_no_patient(tmp_path: Path, column: str) -> None:
    rows = "".join(f"x.png,{'ab'[i % 2]},{'y' * (201 if i == 7 else 3)}\n" for i in range(40))
    path = csv(tmp_path / "x.csv", f"path,label,{column}\n{rows}")
    with pytest.raises(DatasetError, match=rf"{column}: expected at most 200 .* got more in row 9"):
        load_dataset(path)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "path,label,label\nx.png,a,b\n")
    with pytest.raises(DatasetError, match=r"column 'label': expected it once$"):
        load_dataset(path)


def test_messages_do_not_quote_the_rows(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "path,label,patient_id\nx.png,a,Ann Example,more\n")
    with pytest.raises(DatasetError) as caught:
        load_dataset(path)
    assert "Ann" not in str(caught.value)


def test_images_may_lie_in_another_folder_than_their_table(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    draw(tmp_path / "scans")
    rows = "".join(f"{i}.png,{'ab'[i % 2]},{s}\n" for i, s in enumerate(SPLITS * 2))
    table = tmp_path / "x.csv"
    table.write_text(f"path,label,split\n{rows}")
    ways = [
        load_dataset(f"{table}@{tmp_path / 'scans'}"),
        load_dataset(tmp_path / "scans", labels=table),
    ]
    for dataset in ways:
        assert isinstance(dataset.train.images, FileImages)
        assert {path.parent for path in dataset.train.images.paths} == {tmp_path / "scans"}
        assert dataset.task.name == "x"


def test_a_folder_whose_name_looks_like_a_table_s_is_still_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "x.csv@scans"
    for name in ("cat", "dog"):
        (place / name).mkdir(parents=True)
        for number in range(10):
            Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(place / name / f"{number}.png")
    assert load_dataset(place).task.labels == ("cat", "dog")


def test_a_folder_without_classes_points_to_the_table_in_it(tmp_path: Path) -> None:
    csv(tmp_path / "labels.csv", "path,label\nx.png,a\n")
    with pytest.raises(DatasetError, match=r"found 0; if labels stand in labels\.csv, pass .*csv$"):
        load_dataset(tmp_path)
