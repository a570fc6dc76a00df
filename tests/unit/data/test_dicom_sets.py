"""A folder of DICOM files and a table of labels: matched by UID, patients from headers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medlego.data import SPLITS, TaskHints, join, load_dataset
from medlego.data.samples import FileImages
from medlego.errors import DatasetError

SITES = ("North", "South")
CR = "1.2.840.10008.5.1.4.1.1.1"


def uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def write(path: Path, patient: int, study: int, image: int, **changes: object) -> Path:
    """A small chest image; a value of None leaves its element out."""
    values: dict[str, object] = {
        "SOPClassUID": CR,
        "SOPInstanceUID": uid("sop", patient, study, image),
        "StudyInstanceUID": uid("study", patient, study),
        "SeriesInstanceUID": uid("series", patient, study),
        "PatientID": f"P{patient}",
        "PatientSex": "FM"[patient % 2],
        "PatientAge": f"{20 + 5 * patient:03d}Y",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "Manufacturer": "Maker",
        "ManufacturerModelName": "One",
        "InstitutionName": SITES[patient % 2],
        "Rows": 8,
        "Columns": 8,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": np.full((8, 8), image, np.uint8).tobytes(),
    } | changes
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Ten patients, two studies each, two images a study, in nested folders without endings."""
    for patient in range(10):
        for study in range(2):
            for image in range(2):
                name = tmp_path / "scans" / f"{patient}" / f"{study}" / f"IM{image}"
                write(name, patient, study, image)
    return tmp_path / "scans"


def by_study(path: Path, patients: int = 10, extra: str = "", header: str = "") -> Path:
    rows = [
        f"{uid('study', p, s)},{'sick' if p % 3 == 0 else 'well'}{extra}"
        for p in range(patients)
        for s in range(2)
    ]
    path.write_text("\n".join([f"study_instance_uid,label{header}", *rows]) + "\n")
    return path


def test_a_study_s_label_goes_to_all_its_images(scans: Path) -> None:
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    parts = [dataset.split(split) for split in SPLITS]
    assert sum(map(len, parts)) == 40
    for part in parts:
        assert isinstance(part.images, FileImages)
        for path, label in zip(part.images.paths, part.labels, strict=True):
            sick = int(path.parts[-3]) % 3 == 0
            assert dataset.task.labels[label] == ("sick" if sick else "well")


def test_images_are_named_by_sop_uid_one_by_one(scans: Path) -> None:
    rows = [f"{uid('sop', p, 0, 1)},{'ab'[p % 2]}" for p in range(10)]
    table = scans.parent / "x.csv"
    table.write_text("\n".join(["sop_instance_uid,label", *rows]) + "\n")
    dataset = load_dataset(scans, labels=table)
    whole = join([dataset.split(s) for s in SPLITS])
    assert len(whole) == 10
    assert "left out: 30 DICOM images that the table does not name" in dataset.notes


def test_patients_of_studies_stay_in_one_split(scans: Path) -> None:
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    sides = [set(np.asarray(dataset.split(split).patients).tolist()) for split in SPLITS]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10


def test_groups_come_from_headers(scans: Path) -> None:
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    groups = join([dataset.split(split) for split in SPLITS]).groups
    assert {name: set(values.tolist()) for name, values in groups.items()} == {
        "sex": {"F", "M"},
        "age_band": {"18-39", "40-59", "60-79"},
        "site": set(SITES),
        "scanner": {"Maker One"},
    }


def test_modality_and_body_part_come_from_headers_that_agree(scans: Path) -> None:
    task = load_dataset(by_study(scans.parent / "chest.csv")).task
    assert (task.modality, task.body_part) == ("DX", "CHEST")


def test_modality_is_left_open_where_headers_differ(scans: Path) -> None:
    write(scans / "0" / "0" / "IM0", 0, 0, 0, Modality="CR")
    assert load_dataset(by_study(scans.parent / "chest.csv")).task.modality is None


def test_the_table_s_columns_win_over_headers(scans: Path) -> None:
    table = by_study(scans.parent / "chest.csv", extra=",East", header=",site")
    groups = load_dataset(table).train.groups
    assert set(groups["site"].tolist()) == {"East"}


def test_an_image_without_patient_is_kept_with_its_study(scans: Path) -> None:
    for image in range(2):
        write(scans / "1" / "0" / f"IM{image}", 1, 0, image, PatientID=None)
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    whole = join([dataset.split(split) for split in SPLITS])
    assert whole.patients is not None
    assert (whole.patients == f"study {uid('study', 1, 0)}").sum() == 2
    assert any(note.startswith("2 images state no patient") for note in dataset.notes)


def test_studies_that_are_not_there_are_named_by_row_and_stop_nothing(scans: Path) -> None:
    table = by_study(scans.parent / "chest.csv", patients=11)
    dataset = load_dataset(table)
    assert sum(len(dataset.split(split)) for split in SPLITS) == 40
    assert dataset.notes[0].startswith("left out: 2 of 22 rows without a DICOM image with this stu")
    shutil.rmtree(scans)
    scans.mkdir()
    with pytest.raises(DatasetError, match="for each row, found none for all 22; check"):
        load_dataset(table)


def test_files_without_pixels_and_files_that_are_no_dicom_are_left_out(scans: Path) -> None:
    write(scans / "report", 0, 0, 9, PixelData=None)
    (scans / "notes.txt").write_text("hello")
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    assert sum(len(dataset.split(split)) for split in SPLITS) == 40


def test_a_second_copy_of_an_image_is_left_out_and_noted(scans: Path) -> None:
    write(scans / "copy", 0, 0, 0)
    dataset = load_dataset(by_study(scans.parent / "chest.csv"))
    assert sum(len(dataset.split(split)) for split in SPLITS) == 40
    assert "left out: 1 DICOM files that repeat another's SOP instance UID" in dataset.notes


def test_a_given_split_that_parts_a_patient_is_refused(scans: Path) -> None:
    rows = [f"{uid('study', p, s)},{'ab'[p % 2]},{SPLITS[s]}" for p in range(4) for s in range(2)]
    table = scans.parent / "x.csv"
    table.write_text("\n".join(["study_instance_uid,label,split", *rows]) + "\n")
    with pytest.raises(DatasetError, match=r"expected each patient in one split, got 4 in several"):
        load_dataset(table)


def test_paths_to_dicom_files_bring_patients_too(scans: Path) -> None:
    rows = [f"scans/{p}/{s}/IM{i},{'ab'[p % 2]}" for p in range(10) for s in (0, 1) for i in (0, 1)]
    table = scans.parent / "x.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    assert set(np.asarray(load_dataset(table).train.patients)) <= {f"P{p}" for p in range(10)}


def classes(scans: Path, root: Path) -> Path:
    """The scans in a folder per class, five patients each."""
    for path in sorted(path for path in scans.rglob("*") if path.is_file()):
        patient, study, image = path.relative_to(scans).parts
        name = root / "ab"[int(patient) % 2] / f"{patient}-{study}-{image}"
        name.parent.mkdir(parents=True, exist_ok=True)
        path.rename(name)
    return root


def test_one_picture_among_dicom_files_does_not_part_their_patients(scans: Path) -> None:
    root = classes(scans, scans.parent / "chest")
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(root / "a" / "extra.png")
    dataset = load_dataset(root)
    sides = [set(np.asarray(dataset.split(split).patients).tolist()) for split in SPLITS]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 11
    assert "1 images are no DICOM; each stands for a patient of its own" in dataset.notes


def test_folders_of_splits_that_part_a_patient_are_refused(scans: Path) -> None:
    for split, study in zip(SPLITS, (0, 1, 1), strict=True):
        for patient in range(4):
            name = scans / "set" / split / "ab"[patient % 2] / f"{patient}"
            write(name, patient + 4 * (split == "test"), study, 0)
    with pytest.raises(DatasetError, match=r"below one of train, val, test, got 4 below several"):
        load_dataset(scans / "set")
    assert len(load_dataset(scans / "set", keep_torn=True).val) == 4


def test_folders_of_splits_that_part_a_patient_of_two_spellings_are_refused(scans: Path) -> None:
    for split, patient in zip(SPLITS, ("007", "8", "7"), strict=True):
        for number in range(2):
            write(scans / "set" / split / "ab"[number] / "x", number, 0, 0, PatientID=patient)
    with pytest.raises(DatasetError, match=r"got 1 below several"):
        load_dataset(scans / "set")


def test_one_patient_for_all_images_is_said(scans: Path) -> None:
    for path in [path for path in scans.rglob("*") if path.is_file()]:
        write(path, 0, *map(int, (path.parts[-2], path.name[2:])), PatientID="ANON")
    rows = [f"scans/{p}/{s}/IM{i},{'ab'[p % 2]}" for p in range(10) for s in (0, 1) for i in (0, 1)]
    table = scans.parent / "x.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    with pytest.raises(DatasetError, match=r"three patients or more for three splits, got 1; whe"):
        load_dataset(table)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    table = by_study(tmp_path / "chest.csv")
    with pytest.raises(DatasetError, match=r"nowhere: expected a folder of DICOM files, found no"):
        load_dataset(tmp_path / "nowhere", labels=table)


@pytest.mark.parametrize("shape", ["table", "folder", "splits"])
def test_headers_that_contradict_the_stated_modality_are_counted(
    tmp_path: Path, shape: str
) -> None:
    rows = ["path,label"]
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number}.dcm"
        if shape == "splits":
            name = f"{SPLITS[number // 2 % 3]}/{name}"
        write(tmp_path / name, number, 0, 0, Modality="CT" if number < 4 else "MR")
        rows.append(f"{name},{'ab'[number % 2]}")
    source = tmp_path
    if shape == "table":
        source = tmp_path / "x.csv"
        source.write_text("\n".join(rows))
    told = load_dataset(source, TaskHints(modality="CR", body_part="CHEST")).notes
    assert told == ("modality: task CR, DICOM headers MR (8), CT (4)",)
    (mixed,) = load_dataset(source, TaskHints(body_part="CHEST")).notes
    task = "MR" if shape == "splits" else "unknown"
    assert mixed == f"modality: task {task}, DICOM headers MR (8), CT (4)"
