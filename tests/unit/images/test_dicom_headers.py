"""Headers without pixels, and DICOM files found in folders by their content."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import config
from pydicom.uid import ImplicitVRLittleEndian, MediaStorageDirectoryStorage, RLELossless

from dicomfiles import as_bytes, compress, dataset, item, write
from medlego.errors import ImageError
from medlego.images import find_dicom, is_dicom, is_image, read_header

GREY = np.zeros((4, 6), np.uint8)
PATIENT: dict[str, Any] = {
    "PatientID": "P7 ",
    "PatientSex": "F",
    "PatientAge": "063Y",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "Modality": "DX",
    "BodyPartExamined": "CHEST",
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Model",
    "InstitutionName": "Clinic",
    "StationName": "ROOM1",
}


def test_header_says_what_data_sets_need(tmp_path: Path) -> None:
    instance = dataset(GREY, **PATIENT)
    header = read_header(write(tmp_path / "x", instance))
    assert dataclasses.asdict(header) == {
        "path": tmp_path / "x",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.7",
        "sop_uid": instance.SOPInstanceUID,
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.4",
        "patient_id": "P7",
        "sex": "F",
        "age_years": 63.0,
        "modality": "DX",
        "body_part": "CHEST",
        "manufacturer": "Maker",
        "model": "Model",
        "institution": "Clinic",
        "station": "ROOM1",
        "rows": 4,
        "columns": 6,
        "frames": 1,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "has_pixels": True,
        "no_image": None,
    }
    assert header.site == "Clinic"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "x", dataset(GREY, PixelData=None)))
    assert (header.patient_id, header.site, header.modality) == (None, None, None)
    assert header.age_years is None
    assert not header.has_pixels


def test_site_is_the_station_where_no_institution_is_named(tmp_path: Path) -> None:
    assert read_header(write(tmp_path / "x", dataset(GREY, StationName="CT1"))).site == "CT1"


def test_header_of_a_compressed_file_names_its_syntax(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "x", compress(dataset(GREY), RLELossless)))
    assert header.transfer_syntax_uid == RLELossless


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "009M"}, 0.75),
        ({"PatientAge": "010D"}, 10 / 365.25),
        ({"PatientAge": "026W"}, 26 * 7 / 365.25),
        ({"PatientBirthDate": "19600501", "StudyDate": "20200501"}, 60.0),
        ({"PatientBirthDate": "20300501", "StudyDate": "20200501"}, None),
        ({"PatientBirthDate": "19600501"}, None),
        ({"PatientAge": "999Y"}, None),
        ({"PatientBirthDate": "18000101", "StudyDate": "20200101"}, None),
    ],
)
def test_age_is_in_years(tmp_path: Path, elements: dict[str, Any], years: float | None) -> None:
    age = read_header(write(tmp_path / "x", dataset(GREY, **elements))).age_years
    assert age == (None if years is None else pytest.approx(years, abs=1e-3))


def test_values_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    content = as_bytes(dataset(GREY, NumberOfFrames=12, Manufacturer="maker."))
    content = content.replace(b"IS\x02\x0012", b"IS\x02\x00AB").replace(b"LO\6\0mak", b"FD\6\0mak")
    content = content.replace(b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0LO\x02\0")
    (tmp_path / "x").write_bytes(content)
    header = read_header(tmp_path / "x")
    assert (header.manufacturer, header.rows, header.frames) == (None, None, 1)
    assert header.columns == GREY.shape[1]


@pytest.mark.parametrize("name", ["missing", ""])
def test_header_of_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="expected an image file, "):
        read_header(tmp_path / name)


def test_dicom_is_known_by_its_content(tmp_path: Path) -> None:
    whole = as_bytes(dataset(GREY))
    bare = whole[whole.index(b"\x08\0\x16\0UI") :]
    implicit = as_bytes(dataset(GREY, syntax=ImplicitVRLittleEndian))
    implicit = implicit[implicit.index(b"\x08\0\x16\0", 300) :]
    for number, content in enumerate((whole, bare, implicit)):
        (tmp_path / str(number)).write_bytes(content)
        assert is_dicom(tmp_path / str(number))
        assert is_image(tmp_path / str(number))


@pytest.mark.parametrize(
    "content",
    [b"", b"DICM", b"sop_instance_uid,label\n1.2.3,clear\n", b"\x08\0\0\0" * 50, b"\x89PNG" * 40],
)
def test_other_content_is_not_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    assert not is_dicom(tmp_path / "x.txt")
    assert not is_image(tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["x.PNG", "x.dcm", "x.nii.gz", "x.nii"])
def test_a_name_may_promise_an_image(tmp_path: Path, name: str) -> None:
    assert is_image(tmp_path / name)


def test_files_are_found_by_content_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/IM2", "a.dcm", "b/IM1", ".hidden/IM", "b/.IM"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, dataset(GREY))
    (tmp_path / "labels.dcm").write_text("no image")
    paths = [str(path.relative_to(tmp_path)) for path in find_dicom(tmp_path)]
    assert paths == ["a.dcm", "b/IM1", "b/IM2"]


def test_directory_is_followed_and_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".HIDDEN").mkdir()
    write(tmp_path / ".HIDDEN" / "IM1", dataset(GREY))
    directory = dataset(GREY, PixelData=None, SOPClassUID=MediaStorageDirectoryStorage)
    with config.disable_value_validation():
        directory.DirectoryRecordSequence = [
            item(DirectoryRecordType="PATIENT"),
            *(item(ReferencedFileID=[".HIDDEN", name]) for name in ("IM1", "IM2")),
        ]
        write(tmp_path / "DICOMDIR", directory)
    assert find_dicom(tmp_path) == [tmp_path / ".HIDDEN" / "IM1"]


def test_finding_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a folder, found none there"):
        find_dicom(tmp_path / "missing")
