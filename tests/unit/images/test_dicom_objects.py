"""DICOM objects that are no images of a patient are never read by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from dicomfiles import dataset, write
from medlego.errors import ImageError, NoPatientImageError
from medlego.images import read_image

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


def test_an_object_without_pixels_is_none_even_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dataset(RAMP, SOPClassUID=uid.RawDataStorage, PixelData=None))
    with pytest.raises(NoPatientImageError, match="raw data"):
        read_image(path)
    with pytest.raises(ImageError, match="expected pixel data, got none"):
        read_image(path, any_object=True)
