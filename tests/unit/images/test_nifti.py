"""Slices of NIfTI volumes: which one, how it lies, how its values become greys."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medlego.errors import ImageError
from medlego.images import Image, read_image

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
"""Four from left to right or right to left, five from back to front, six from feet to head."""


def read(
    tmp_path: Path,
    array: np.ndarray,
    affine: np.ndarray | None,
    index: int | None = None,
    *,
    kind: Any = nibabel.Nifti1Image,
    suffix: str = ".nii",
    display: tuple[float, float] | None = None,
) -> Image:
    image = kind(array, affine)
    if display:
        image.header["cal_min"], image.header["cal_max"] = display
    nibabel.save(image, tmp_path / f"x{suffix}")
    return read_image(tmp_path / f"x{suffix}", index)


def same(image: Image, expected: np.ndarray) -> None:
    np.testing.assert_allclose(image.pixels[0].numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_middle_slice_is_axial_with_left_at_the_right(
    tmp_path: Path, kind: Any, suffix: str
) -> None:
    image = read(tmp_path, VOLUME, np.eye(4), kind=kind, suffix=suffix)
    same(image, VOLUME[::-1, ::-1, 3].T / 255)
    assert image.applied == (
        "slice: 4 of 6, the middle one",
        "scaled: 8 bit by 1/255",
        "orientation: axial, turned, columns to L, rows to P",
    )


def test_name_does_not_decide(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "x.nii")
    (tmp_path / "x.nii").rename(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").pixels.shape == (1, 5, 4)


@pytest.mark.parametrize(
    ("affine", "stored"),
    [
        (np.diag([-2.0, 3, 4, 1]), VOLUME[::-1]),
        (np.diag([2.0, -3, -4, 1]), VOLUME[:, ::-1, ::-1]),
        (
            np.array([[0, 0, 2, 0], [3, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 1.0]]),
            VOLUME.transpose(1, 2, 0),
        ),
    ],
    ids=["left to right", "front to back, head to feet", "permuted"],
)
def test_volume_that_lies_otherwise_gives_the_same_slice(
    tmp_path: Path, affine: np.ndarray, stored: np.ndarray
) -> None:
    image = read(tmp_path, np.ascontiguousarray(stored), affine)
    same(image, VOLUME[::-1, ::-1, 3].T / 255)
    assert image.spacing_mm == (3, 2)


def test_volume_of_unknown_place_is_only_transposed(tmp_path: Path) -> None:
    image = read(tmp_path, VOLUME, None, 1)
    same(image, VOLUME[:, :, 1].T / 255)
    assert image.applied[0] == "slice: 2 of 6"
    assert not any("orientation" in said for said in image.applied)


def test_display_range_is_the_window(tmp_path: Path) -> None:
    array = VOLUME.astype(np.int16) * 10
    image = read(tmp_path, array, None, 2, display=(100, 600))
    same(image, ((array[:, :, 2].T - 100) / 500).clip(0, 1))


def test_other_values_are_scaled_by_percentiles_of_the_volume(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(50, 9, (8, 8, 8)).astype(np.float32)
    array[0, 0, 0] = np.nan
    low, high = np.nanpercentile(array, [0.5, 99.5])
    image = read(tmp_path, array, None, 0)
    same(image, np.nan_to_num((array[:, :, 0].T - low) / (high - low)).clip(0, 1))
    assert image.applied[1].endswith("percentiles 0.5 and 99.5 of the volume")


def test_even_volume_is_black(tmp_path: Path) -> None:
    same(read(tmp_path, np.full((4, 4, 4), 7.5, np.float32), None), np.zeros((4, 4)))


def test_first_of_several_volumes_is_read(tmp_path: Path) -> None:
    array = np.stack([VOLUME, 255 - VOLUME], axis=3)
    same(read(tmp_path, array, None, 2), VOLUME[:, :, 2].T / 255)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_voxels_that_lie_far_away_are_refused(tmp_path: Path, kind: Any) -> None:
    header = kind(np.zeros((4, 4, 4), np.uint8), np.eye(4)).header
    header["vox_offset"] = 1 << 27
    header["magic"] = b"n+1" if kind is nibabel.Nifti1Image else b"n+2"
    with gzip.open(tmp_path / "x.nii.gz", "wb", 1) as stream:
        stream.write(header.binaryblock + bytes(1 << 20))
    with pytest.raises(ImageError, match=r"expected voxels within the first 67,108,864 bytes"):
        read_image(tmp_path / "x.nii.gz")


def test_plane_is_one_slice(tmp_path: Path) -> None:
    same(read(tmp_path, VOLUME[:, :, 0], None), VOLUME[:, :, 0].T / 255)


def test_slice_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a slice from 0 to 5, got 6"):
        read(tmp_path, VOLUME, None, 6)


# headers that contradict themselves --------------------------------------------------------------
def placed(tmp_path: Path, sform: np.ndarray, qform: np.ndarray | None) -> Image:
    """A volume whose header says both; nibabel would not write what is wrong."""
    path = tmp_path / "x.nii"
    nibabel.save(nibabel.Nifti1Image(VOLUME, None), path)
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348])
    header.set_qform(qform, int(qform is not None))
    header["sform_code"] = 1
    header["srow_x"], header["srow_y"], header["srow_z"] = sform[:3]
    path.write_bytes(header.binaryblock + content[348:])
    return read_image(path)


FLAT = np.diag([1.0, 0.0, 1.0, 1.0])
SKEWED = np.array([[1.0, 1.0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NAN = np.full((4, 4), np.nan)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), FLAT, SKEWED, NAN, np.full((4, 4), np.inf)])
def test_one_bad_placement_and_one_good(tmp_path: Path, wrong: np.ndarray) -> None:
    image = placed(tmp_path, wrong, np.diag([-1, -1, 2, 1]))
    same(image, VOLUME[:, :, 3].T / 255)
    assert image.warnings == ("warning: orientation: sform ignored, it is no placement in space",)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), NAN])
def test_without_any_good_placement_slices_stay_as_stored(
    tmp_path: Path, wrong: np.ndarray
) -> None:
    image = placed(tmp_path, wrong, None)
    same(image, VOLUME[:, :, 3].T / 255)
    assert len(image.warnings) == 1


@pytest.mark.parametrize("display", [(1000.0, 2000.0), (-9.0, -3.0), (0.0, 1e9)])
def test_a_display_range_that_leaves_nothing_is_left_out(
    tmp_path: Path, display: tuple[float, float]
) -> None:
    volume = VOLUME.astype(np.int16)
    image = read(tmp_path, volume, None, display=display)
    assert torch.equal(image.pixels, read(tmp_path, volume, None).pixels)
    assert "left out, it leaves" in image.warnings[0]


def test_a_mask_of_few_voxels_keeps_them(tmp_path: Path) -> None:
    mask = np.zeros((40, 50, 6), np.int16)
    mask[3, 4, 3] = 7
    image = read(tmp_path, mask, None)
    assert image.pixels.max() == 1.0
    assert image.applied[-1] == "scaled: 0 to 7, the volume's least and most"


def test_a_volume_of_nothing_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected finite values, got none"):
        read(tmp_path, np.full((4, 5, 6), np.nan, np.float32), None)


@pytest.mark.parametrize(
    ("field", "place", "value", "says"),
    [
        ("pixdim", 1, -2, "pixdim[1,2,3] should be positive; setting to abs of pixdim values"),
        ("pixdim", 3, 0, "pixdim[1,2,3] should be non-zero; setting 0 dims to 1"),
        ("qform_code", (), 512, "qform_code 512 not valid; setting to 0"),
    ],
)
def test_what_nibabel_mends_is_a_warning_and_not_printed(
    field, place, value, says, tmp_path, capfd
):
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "x.nii")
    content = bytearray((tmp_path / "x.nii").read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]))
    header[field][place] = value
    content[:348] = header.binaryblock
    (tmp_path / "x.nii").write_bytes(content)
    image = read_image(tmp_path / "x.nii")
    assert f"warning: header: {says}" in image.warnings
    assert capfd.readouterr() == ("", "")
