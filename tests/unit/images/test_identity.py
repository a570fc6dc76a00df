"""Whose image a DICOM file is, as a person is shown it."""

from __future__ import annotations

import pytest

from dicomfiles import as_bytes, dataset
from medlego.errors import ImageError
from medlego.images import read_identity
from serving import picture


def identity(tmp_path, **elements):
    path = tmp_path / "image"
    path.write_bytes(as_bytes(dataset(picture(), **elements)))
    return read_identity(path)


def test_names_are_shown_in_every_alphabet_they_are_stated_in(tmp_path):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    found = identity(tmp_path, SpecificCharacterSet="ISO_IR 192", PatientName=name)
    assert found == {"patient": "Yamada, Tarou / 山田, 太郎 / やまだ, たろう"}


@pytest.mark.parametrize("name", ["", "^^^^", "=", " "])
def test_what_is_not_stated_is_left_out(tmp_path, name):
    assert identity(tmp_path, PatientName=name) == {}


def test_dates_that_are_none_stand_as_they_are(tmp_path):
    assert identity(tmp_path, StudyDate="19990101", StudyDescription="19990101") == {
        "study": "19990101",
        "study date": "1999-01-01",
    }


def test_characters_that_nobody_sees_show(tmp_path):
    found = identity(tmp_path, SpecificCharacterSet="ISO_IR 192", PatientID="12\u202e34")
    assert found == {"patient ID": "12�34"}


def test_all_of_several_values_are_shown(tmp_path):
    found = identity(tmp_path, PatientName=["Doe^Jane", "Roe^Max"], PatientID=["P-1", "P-2", ""])
    assert found == {
        "patient": "Doe, Jane; Roe, Max (2 values)",
        "patient ID": "P-1; P-2 (2 values)",
    }


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_value_of_any_length_is_shown_in_part(tmp_path):
    found = identity(tmp_path, StudyDescription="x" * 5000)
    assert found == {"study": "x" * 200 + "…"}


def test_what_is_no_dicom_file_is_refused(tmp_path):
    (tmp_path / "image").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="expected a DICOM file"):
        read_identity(tmp_path / "image")
