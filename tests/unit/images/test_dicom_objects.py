"""DICOM objects that are no images of a patient are never read by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from dicomfiles import dataset, write
from medlego.data import SPLITS, load_dataset
from medlego.errors import ImageError, NoPatientImageError
from medlego.images import read_header, read_image

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        (uid.SegmentationStorage, "a segmentation"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "a segmentation"),
        (uid.RTDoseStorage, "a dose map"),
        (uid.ParametricMapStorage, "a parametric map"),
        (uid.GrayscaleSoftcopyPresentationStateStorage, "a presentation state"),
        (uid.KeyObjectSelectionDocumentStorage, "a selection of key objects"),
        (uid.ComprehensiveSRStorage, "a report"),
        (uid.EncapsulatedPDFStorage, "a document"),
        (uid.RawDataStorage, "raw data"),
        (uid.VLWholeSlideMicroscopyImageStorage, "a tile of a whole slide"),
        (uid.RTStructureSetStorage, "a treatment plan"),
    ],
)
def test_the_class_decides_before_anything_else(tmp_path: Path, sop_class: str, kind: str) -> None:
    path = write(tmp_path / "x", dataset(RAMP, SOPClassUID=sop_class, Modality="MR"))
    with pytest.raises(NoPatientImageError, match=f"x: expected an image of a patient, got {kind}"):
        read_image(path)
    assert read_image(path, any_object=True).pixels.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("modality", "kind"), [("SEG", "a segmentation"), ("RTDOSE", "a dose map"), ("SM", "a tile")]
)
def test_the_modality_decides_where_the_class_is_a_common_one(
    tmp_path: Path, modality: str, kind: str
) -> None:
    with pytest.raises(NoPatientImageError, match=kind):
        read_image(write(tmp_path / "x", dataset(RAMP, Modality=modality)))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "a localizer"),
        (["ORIGINAL", "PRIMARY", "AXIAL", "LOCALIZER"], "a localizer"),
        (["DERIVED", "SECONDARY", "SCREEN SAVE"], "a screen save"),
        (["DERIVED", "SECONDARY", "SCREEN_SAVE"], "a screen save"),
        (["DERIVED", "SECONDARY", "screen save"], "a screen save"),
        (["DERIVED", "SECONDARY", "DOSE_INFO"], "a dose report"),
    ],
)
def test_the_image_type_decides_last(tmp_path: Path, values: list[str], kind: str) -> None:
    path = write(tmp_path / "x", dataset(RAMP, Modality="CT", ImageType=values))
    with pytest.raises(NoPatientImageError, match=kind):
        read_image(path)


@pytest.mark.parametrize(
    ("sop_class", "modality", "values"),
    [
        (uid.SecondaryCaptureImageStorage, "OT", ["DERIVED", "SECONDARY"]),
        (uid.SecondaryCaptureImageStorage, None, None),
        (uid.MRImageStorage, "MR", ["ORIGINAL", "PRIMARY", "M", "ND"]),
        (uid.RTImageStorage, "RTIMAGE", ["ORIGINAL", "PRIMARY", "PORTAL"]),
        (uid.ComputedRadiographyImageStorage, "CR", ["ORIGINAL", "PRIMARY"]),
        ("1.2.3.4", "XC", None),
    ],
)
def test_images_of_patients_are_read(
    tmp_path: Path, sop_class: str, modality: str | None, values: list[str] | None
) -> None:
    elements = {"SOPClassUID": sop_class, "Modality": modality, "ImageType": values}
    stated: dict[str, Any] = {
        keyword: value for keyword, value in elements.items() if value is not None
    }
    assert read_image(write(tmp_path / "x", dataset(RAMP, **stated))).warnings == ()


def test_an_image_type_of_another_kind_says_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dataset(RAMP, ImageType=["ORIGINAL", "PRIMARY"]))
    content = path.read_bytes()
    assert content.count(b"\x08\0\x08\0CS\x10\0ORIGINAL\\PRIMARY") == 1
    number = b"\x08\0\x08\0IS\x10\0" + b"1".ljust(16)
    path.write_bytes(content.replace(b"\x08\0\x08\0CS\x10\0ORIGINAL\\PRIMARY", number))
    assert read_image(path).pixels.shape == (1, 8, 8)


def test_an_object_without_pixels_is_none_even_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dataset(RAMP, SOPClassUID=uid.RawDataStorage, PixelData=None))
    with pytest.raises(NoPatientImageError, match="raw data"):
        read_image(path)
    with pytest.raises(ImageError, match="expected pixel data, got none"):
        read_image(path, any_object=True)


# data sets ---------------------------------------------------------------------------------------
def scans(folder: Path) -> Path:
    """Ten images of patients in each of two classes, and in one what is none."""
    for number, label in enumerate(("a", "b")):
        (folder / label).mkdir(parents=True)
        for i in range(10):
            image = dataset(RAMP + i + 20 * number, PatientID=f"{label}{i}")
            write(folder / label / f"{i}.dcm", image)
    others = {
        "loc": dataset(RAMP, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "seg": dataset(RAMP, SOPClassUID=uid.SegmentationStorage),
        "sr": dataset(RAMP, SOPClassUID=uid.ComprehensiveSRStorage, PixelData=None),
    }
    for name, instance in others.items():
        write(folder / "a" / name, instance)
    (folder / "a" / "broken.dcm").write_bytes((folder / "a" / "0.dcm").read_bytes()[:140])
    return folder


NOTES = {
    "left out: 1 DICOM files that are no image of a patient but a localizer",
    "left out: 1 DICOM files that are no image of a patient but a report",
    "left out: 1 DICOM files that are no image of a patient but a segmentation",
    "left out: 1 DICOM files without pixels",
}


def test_a_folder_per_class_leaves_them_out_and_counts_them(tmp_path: Path) -> None:
    data = load_dataset(scans(tmp_path / "scans"))
    assert sum(len(data.split(split)) for split in SPLITS) == 20
    assert set(data.notes) >= NOTES


@pytest.mark.parametrize("key", ["path", "sop_instance_uid"])
def test_a_table_leaves_them_out_and_counts_them(tmp_path: Path, key: str) -> None:
    folder = scans(tmp_path / "scans")
    rows = [f"{key},label,patient_id"]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if key == "path":
            rows.append(f"{path.relative_to(folder)},{path.parent.name},{path.name}")
        elif path.stem.isdigit():
            rows.append(f"{read_header(path).sop_uid},{path.parent.name},{path.name}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    data = load_dataset(f"{tmp_path / 't.csv'}@{folder}")
    assert sum(len(data.split(split)) for split in SPLITS) == 20
    assert set(data.notes) >= NOTES
