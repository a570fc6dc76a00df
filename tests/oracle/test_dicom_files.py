"""Every DICOM file of pydicom's packages: refused as the docs say, or read as pydicom reads it.

The oracle is pydicom's own pipeline, brought to [0, 1]. Its steps after decoding share no code
with medlego; what it does not know (functional groups, padding, orientation) is done here in
another way.
"""

from __future__ import annotations

import csv
import itertools
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medlego.errors import ImageError
from medlego.images import read_image
from tools.make_dicom_table import PAGE, described, files

FILES = files()
ROWS = {row["file"]: row for row in csv.DictReader(PAGE.read_text().splitlines())}
READ = sorted(name for name, row in ROWS.items() if row["outcome"] != "refused")


def test_the_page_lists_the_files_of_both_packages() -> None:
    assert list(ROWS) == list(FILES)
    assert len(READ) > 150


@pytest.mark.parametrize("name", sorted(set(ROWS) - set(READ)))
def test_file_is_refused_for_the_reason_on_the_page(name: str) -> None:
    path = FILES[name]
    with pytest.raises(ImageError) as caught:
        read_image(path)
    reason = str(caught.value).removeprefix(f"{path}: ")
    assert asdict(described(name, path, "refused", reason)) == ROWS[name]


@pytest.mark.parametrize("name", READ)
def test_file_is_read_as_pydicom_reads_it(name: str) -> None:
    image = read_image(FILES[name])
    outcome = "mended" if image.warnings else "read"
    row = described(name, FILES[name], outcome, "; ".join(image.warnings))
    assert asdict(row) == ROWS[name]
    if known := KNOWN.get(name):
        for (y, x), value in known.items():
            assert image.pixels[0, y, x] == pytest.approx(value, abs=1e-6)
        return
    if whole := CUT_SHORT.get(name):
        assert torch.equal(image.pixels, read_image(FILES[whole]).pixels)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle(FILES[name], without_window="left out, it leaves" in str(image.warnings))
    pixels = image.pixels.permute(1, 2, 0).numpy().astype(np.float64)
    np.testing.assert_allclose(pixels, np.atleast_3d(expected), rtol=0, atol=2e-6)


KNOWN = {
    f"pydicom/test_files/{name}.dcm": {(420, 140): 244 / 4095, (230, 120): 95 / 4095}
    for name in ("JPEG-lossy", "JPGExtended")
}
"""Pixels of the two files that pydicom's permissive codecs refuse, as its own tests state them."""

_SHORT = "pydicom-data/emri_small_jpeg_2k_lossless"
CUT_SHORT = {f"{_SHORT}_too_short.dcm": f"{_SHORT}.dcm"}
"""A file that lacks its delimiter, which pydicom refuses, and the same with it."""


def oracle(path: Path, *, without_window: bool) -> np.ndarray:
    ds = pydicom.dcmread(path, force=True)
    if without_window:
        del ds.WindowCenter
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    frame = int(ds.get("NumberOfFrames", 1) or 1) // 2
    stored = pixel_array(ds, index=frame)
    lift_functional_groups(ds, frame)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        shown = coloured(stored, ds)
    elif stored.ndim == 3:
        shown = stored / (2.0**ds.BitsStored - 1)
    else:
        shown = greys(stored, ds)
    if ds.get("PixelPresentation") in ("COLOR", "MIXED"):
        first = ds.RedPaletteColorLookupTableDescriptor[1]
        del ds.PixelPresentation
        over = stored[..., None] >= first
        shown = np.where(over, coloured(np.maximum(stored, first), ds), shown[..., None])
    return turned(shown, ds)


def lift_functional_groups(ds: Dataset, frame: int) -> None:
    """Copy what the standard keeps in functional groups to where pydicom looks for it."""
    shared = ds.get("SharedFunctionalGroupsSequence") or []
    own = ds.get("PerFrameFunctionalGroupsSequence") or []
    for groups in [*shared, *own[frame : frame + 1]]:
        for element in groups:
            if element.VR == "SQ" and len(element.value) == 1:
                for nested in element.value[0]:
                    if nested.VR != "SQ":
                        ds[nested.tag] = nested


def coloured(stored: np.ndarray, ds: Dataset) -> np.ndarray:
    if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:  # pydicom forgets to swap tables
        for keyword in [f"{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")]:
            if keyword in ds:
                ds[keyword].value = np.frombuffer(ds[keyword].value, ">u2").astype("<u2").tobytes()
    return apply_color_lut(stored, ds) / (2.0 ** ds.RedPaletteColorLookupTableDescriptor[2] - 1)


def greys(stored: np.ndarray, ds: Dataset) -> np.ndarray:
    low, high = stored_range(ds)
    values = apply_modality_lut(stored, ds).astype(np.float64)
    if ds.get("VOILUTSequence"):
        shown = apply_voi_lut(values.astype(stored.dtype), ds)
        shown = shown / (2.0 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif "WindowCenter" in ds:
        shown = (apply_voi_lut(values, ds) - low) / (high - low)
    else:
        if ds.get("Modality") == "CT" and "RescaleSlope" in ds:
            low, high = -1024, 3071
        shown = ((values - low) / (high - low)).clip(0, 1)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    if "PixelPaddingValue" in ds:
        shown = np.where(stored == ds.PixelPaddingValue, 0.0, shown)
    return shown


def stored_range(ds: Dataset) -> tuple[float, float]:
    """The stored range after the modality step."""
    if ds.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    signed = ds.PixelRepresentation
    ends = np.array([-(2.0 ** (ds.BitsStored - 1)) * signed, 2.0 ** (ds.BitsStored - signed) - 1])
    ends = ends * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    return float(ends[0]), float(ends[1])


def turned(array: np.ndarray, ds: Dataset) -> np.ndarray:
    """Of the eight ways to lay an image down, the one closest to how cross-sections are read."""
    if "ImageOrientationPatient" not in ds:
        return array
    across, down = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
    plane = np.abs(np.cross(across, down)).argmax()
    left, back, feet = np.diag([1.0, 1.0, -1.0])
    want_across, want_down = [(back, feet), (left, feet), (left, back)][plane]

    def fits(way: tuple[bool, int, int]) -> float:
        swap, down_sign, across_sign = way
        first, second = (down, across) if swap else (across, down)
        return across_sign * float(first @ want_across) + down_sign * float(second @ want_down)

    swap, down_sign, across_sign = max(itertools.product([False, True], [1, -1], [1, -1]), key=fits)
    laid: Any = array.swapaxes(0, 1) if swap else array
    return laid[::down_sign, ::across_sign]
