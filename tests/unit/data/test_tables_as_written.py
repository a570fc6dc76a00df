"""Tables as people and their programs write them: one meaning, whatever the spelling."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego.data import SPLITS, Columns, Dataset, TaskHints, as_uncertain, join, load_dataset
from medlego.errors import DatasetError

ROWS = [(f"img/{i:02}.png", ("cat", "dog")[i % 2], f"p{i // 2}") for i in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for name, *_ in ROWS:
        Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / name)
    return tmp_path


def text(delimiter: str = ",", header: str = "path,label,patient_id") -> str:
    lines = [header, *(",".join(row) for row in ROWS)]
    return "".join(f"{line.replace(',', delimiter)}\n" for line in lines)


def everything(dataset: Dataset) -> list[tuple[str, str]]:
    samples = join([dataset.split(split) for split in SPLITS])
    assert samples.patients is not None
    labels = (dataset.task.labels[i] for i in samples.labels)
    return sorted(zip(labels, map(str, samples.patients), strict=True))


PLAIN = sorted((label, patient) for _, label, patient in ROWS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_delimiter_mark_and_line_ending(
    folder: Path, delimiter: str, start: str, ending: str
) -> None:
    content = start + text(delimiter).replace("\n", ending)
    (folder / "x.csv").write_bytes(content.encode())
    assert everything(load_dataset(folder / "x.csv")) == PLAIN


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "sep=;\r"])
def test_a_line_that_states_the_delimiter(folder: Path, line: str) -> None:
    (folder / "x.csv").write_text(f"{line}\n{text(';')}")
    assert everything(load_dataset(folder / "x.csv")) == PLAIN


def test_rows_below_a_stated_delimiter_are_numbered_as_in_the_file(folder: Path) -> None:
    (folder / "x.csv").write_text(f"sep=;\n{text(';')}img/gone.png;cat;p9\n")
    (note,) = load_dataset(folder / "x.csv").notes
    assert note.endswith("(rows 23)")


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_as_excel_writes_it(folder: Path, order: str) -> None:
    (folder / "x.csv").write_bytes(("\ufeff" + text("\t")).encode(order))
    assert everything(load_dataset(folder / "x.csv")) == PLAIN


def write_excel(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """The least that is a workbook: cells as inline text."""
    sheet = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{types}.sheet.main+xml"/>'
        f'<Override PartName="/xl/s.xml" ContentType="{types}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="a" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="s" sheetId="1" r:id="a"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="a" Type="{office}/worksheet" Target="s.xml"/></Relationships>',
        "xl/s.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData></worksheet>',
    }
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, f'<?xml version="1.0"?>{content}')


def test_excel(folder: Path) -> None:
    write_excel(folder / "x.xlsx", [("Path", "Label", "Patient ID"), *ROWS])
    assert everything(load_dataset(folder / "x.xlsx")) == PLAIN


def test_an_excel_sheet_as_wide_and_long_as_any_is_refused(folder: Path) -> None:
    """For the cells between its first and its last, memory is asked that no machine has."""
    far = '</t></is></c></row><row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x'
    write_excel(folder / "x.xlsx", [("Path", "Label", f"Patient ID{far}"), *ROWS])
    with pytest.raises(DatasetError, match="expected a whole Excel file, got another"):
        load_dataset(folder / "x.xlsx")


@pytest.mark.parametrize("content", [b"", b"path,label", b"PK\x03\x04" + bytes(60)])
def test_a_file_that_is_no_excel_is_refused(folder: Path, content: bytes) -> None:
    (folder / "x.xlsx").write_bytes(content)
    with pytest.raises(DatasetError, match="expected a whole Excel file"):
        load_dataset(folder / "x.xlsx")


@pytest.mark.parametrize(
    "header",
    [
        "Path,Label,Patient_ID",
        "PATH,LABEL,PatientID",
        " path , label ,patient id",
        "path,label,Patient-Id",
    ],
)
def test_names_of_columns_in_any_spelling(folder: Path, header: str) -> None:
    (folder / "x.csv").write_text(text(header=header))
    assert everything(load_dataset(folder / "x.csv")) == PLAIN


def test_columns_of_any_name(folder: Path) -> None:
    (folder / "x.csv").write_text(text(header="Image Index,Dx,Subject"))
    columns = Columns(path="image index", label=("Dx",), patient="subject")
    assert everything(load_dataset(folder / "x.csv", columns=columns)) == PLAIN
    with pytest.raises(
        DatasetError, match=r"got Image Index, Dx, Subject; name others with --path"
    ):
        load_dataset(folder / "x.csv")
    with pytest.raises(
        DatasetError, match=r"column 'dx2': expected it in the header, got Image In"
    ):
        load_dataset(folder / "x.csv", columns=Columns(label=("dx2",)))


def test_a_stated_column_goes_before_the_usual_one(folder: Path) -> None:
    lines = ["path,label,truth"] + [f"{name},wrong,{label}" for name, label, _ in ROWS]
    (folder / "x.csv").write_text("\n".join(lines))
    dataset = load_dataset(folder / "x.csv", columns=Columns(label=("truth",)))
    assert dataset.task.labels == ("cat", "dog")


def test_two_columns_that_mean_the_same_are_refused(folder: Path) -> None:
    (folder / "x.csv").write_text(text(header="path,label,Path"))
    with pytest.raises(DatasetError, match="columns path, Path: expected one of them, as path"):
        load_dataset(folder / "x.csv")


def test_backslashes_part_folders(folder: Path) -> None:
    (folder / "x.csv").write_text(text().replace("img/", "img\\"))
    assert everything(load_dataset(folder / "x.csv")) == PLAIN


def test_splits_in_any_spelling(folder: Path) -> None:
    names = ["Training", "VAL", "testing", "TRAIN", "validation", "Test"]
    lines = [f"{ROWS[i][0]},{ROWS[i][1]},{names[i % 6]}" for i in range(18)]
    (folder / "x.csv").write_text("\n".join(["path,label,split", *lines]))
    dataset = load_dataset(folder / "x.csv")
    assert [len(dataset.split(split)) for split in SPLITS] == [6, 6, 6]


# labels ------------------------------------------------------------------------------------------
def written(folder: Path, labels: list[str], header: str = "path,label") -> Path:
    lines = [header, *(f"{ROWS[i % 20][0]},{label}" for i, label in enumerate(labels))]
    (folder / "x.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "x.csv"


def labelled(folder: Path, labels: list[str]) -> Dataset:
    return load_dataset(written(folder, labels))


@pytest.mark.parametrize("spellings", [("0", "0.0", "1", "1.0"), ("0.0", "0.", "1.00", "1.0")])
def test_whole_numbers_are_one_label_however_written(
    folder: Path, spellings: tuple[str, ...]
) -> None:
    dataset = labelled(folder, list(spellings) * 5)
    assert dataset.task.labels == ("0", "1")
    assert any(note.startswith("label 0: written 0") for note in dataset.notes)


def test_halves_stay_halves(folder: Path) -> None:
    assert labelled(folder, ["0.5", "1.5"] * 10).task.labels == ("0.5", "1.5")


@pytest.mark.parametrize("word", ["NA", "N/A", "NULL", "None", "-", "NaN", "null", "<NA>", "#N/A"])
def test_a_missing_label_is_unknown_and_counted(folder: Path, word: str) -> None:
    dataset = labelled(folder, ["cat", "dog", word, "cat"] * 5)
    assert dataset.task.labels == ("cat", "dog")
    assert dataset.notes == ("left out: 5 images without a label",)


def test_a_word_for_missing_is_a_label_where_somebody_says_so(folder: Path) -> None:
    path = written(folder, ["None", "mass"] * 10)
    dataset = load_dataset(path, TaskHints(labels=("None", "mass")))
    assert dataset.task.labels == ("None", "mass")


def test_several_labels_in_a_cell_are_multilabel(folder: Path) -> None:
    dataset = labelled(folder, ["Mass|Edema", "Edema", "No Finding", "Mass"] * 5)
    assert (dataset.task.kind, dataset.task.labels) == ("multilabel", ("Edema", "Mass"))
    samples = join([dataset.split(split) for split in SPLITS])
    assert sorted(map(tuple, samples.labels.tolist())) == sorted(
        [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0)] * 5
    )


@pytest.mark.parametrize(("rule", "value"), [("unknown", np.nan), ("positive", 1), ("negative", 0)])
def test_uncertain_is_what_somebody_says(folder: Path, rule: str, value: float) -> None:
    cells = ["1.0,0.0", "-1.0,1.0", "0,-1", ","] * 5
    path = written(folder, cells, header="path,label_a,label_b")
    dataset = load_dataset(path, uncertain=as_uncertain(rule))
    samples = join([dataset.split(split) for split in SPLITS])
    counts = dict.fromkeys(("nan", "0.0", "1.0"), 0)
    for cell in samples.labels.ravel():
        counts[str(float(cell))] += 1
    expected = {"nan": 10, "0.0": 10, "1.0": 10}
    expected[str(float(value))] += 10
    assert counts == expected
    assert f"10 uncertain cells (-1) count as {rule}" in dataset.notes


def test_columns_of_a_multilabel_task_by_name(folder: Path) -> None:
    path = written(folder, ["1.0,0.0", "0.0,1.0"] * 10, header="path,Edema,Lung Opacity")
    columns = Columns(label=("Edema", "lung opacity"))
    dataset = load_dataset(path, columns=columns)
    assert (dataset.task.kind, dataset.task.labels) == ("multilabel", ("Edema", "lung opacity"))


def test_labels_that_look_alike_are_one(folder: Path) -> None:
    composed = unicodedata.normalize("NFC", "Œdème")
    parted = unicodedata.normalize("NFD", composed)
    assert composed != parted
    assert labelled(folder, [composed, parted, "sain", "sain "] * 5).task.labels == (
        "sain",
        composed,
    )


@pytest.mark.parametrize("hidden", ["\u200b", "\u200e", "\u202e", "\x07", "\ufeff"])
def test_labels_with_invisible_characters_are_refused(folder: Path, hidden: str) -> None:
    with pytest.raises(DatasetError, match=r"row 3: label: expected text without invisible chara"):
        labelled(folder, ["cat", f"do{hidden}g"] * 10)


# folders -----------------------------------------------------------------------------------------
def test_files_of_a_class_that_are_no_images_are_counted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / name / f"{i}.bmp")
        (tmp_path / name / "notes.docx").write_bytes(b"x")
    dataset = load_dataset(tmp_path)
    assert sum(len(dataset.split(split)) for split in SPLITS) == 20
    assert "left out: 1 files of cat that are no images by name or content" in dataset.notes


@pytest.mark.parametrize("names", [("\u00e9t\u00e9", "e\u0301te\u0301"), ("a", "a\u200b")])
def test_folders_that_look_alike_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in (*names, "other"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=r"sub-folder"):
        load_dataset(tmp_path)


def test_a_word_for_missing_that_is_a_label_is_still_missing_elsewhere(folder: Path) -> None:
    rows = "".join(f"{path},{('None', 'mass')[i % 2]},None\n" for i, (path, *_) in enumerate(ROWS))
    (folder / "x.csv").write_text(f"path,label,site\n{rows}")
    dataset = load_dataset(folder / "x.csv", TaskHints(labels=("None", "mass")))
    assert dataset.task.labels == ("None", "mass")
    assert set(dataset.train.groups["site"].tolist()) == {""}


@pytest.mark.parametrize(
    ("kind", "labels"), [("ordinal", ("0", "1.5", "2", "10")), (None, ("0", "1.5", "10", "2"))]
)
def test_numbers_of_a_scale_go_by_their_value(
    folder: Path, kind: str | None, labels: tuple[str, ...]
) -> None:
    cells = ("10", "2.0", "0", "1.5")
    rows = "".join(f"{path},{cells[i % 4]}\n" for i, (path, *_) in enumerate(ROWS))
    (folder / "x.csv").write_text(f"path,label\n{rows}")
    assert load_dataset(folder / "x.csv", TaskHints(kind=kind)).task.labels == labels
