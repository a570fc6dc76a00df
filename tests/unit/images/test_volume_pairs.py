"""Volumes in two files, Analyze 7.5 and NIfTI: either file is read, and the two are one image."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest

from medlego.data import SPLITS, load_dataset
from medlego.errors import ImageError
from medlego.images import image_files, is_image, read_image

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
"""By Analyze's rule four from right to left, five from back to front, six from feet to head."""
AXIAL = VOLUME[:, ::-1, 3].T / 255
UNKNOWN = "warning: orientation: left and right unknown, Analyze's rule has columns run to L"


def write(
    folder: Path,
    array: np.ndarray = VOLUME,
    *,
    order: Literal["<", ">"] = "<",
    slope: float = 0.0,
    orient: bytes = b"\0",
    names: tuple[str, str] = ("x.hdr", "x.img"),
) -> Path:
    """An Analyze pair as nibabel's header and plain bytes; its header's path."""
    header: Any = nibabel.Spm99AnalyzeHeader(endianness=order)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_zooms([2.0, 3.0, 4.0][: array.ndim])
    header["scl_slope"], header["orient"] = slope, orient
    voxels = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    for name, content in zip(names, (header.binaryblock, voxels), strict=True):
        zipped = name.lower().endswith(".gz")
        (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    return folder / names[0]


def same(path: Path, expected: np.ndarray, index: int | None = None) -> tuple[str, ...]:
    image = read_image(path, index)
    np.testing.assert_allclose(image.pixels[0].numpy(), expected, rtol=0, atol=1e-6)
    return image.applied


# what is read -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "names",
    [
        ("x.hdr", "x.img"),
        ("x.HDR", "x.IMG"),
        ("x.hdr", "x.IMG"),
        ("x.hdr.gz", "x.img.gz"),
        ("x.hdr", "x.img.gz"),
        ("a.b.hdr", "a.b.img"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_either_file_of_a_pair_is_read(
    tmp_path: Path, names: tuple[str, str], order: Literal["<", ">"]
) -> None:
    write(tmp_path, names=names, order=order)
    for name in names:
        assert same(tmp_path / name, AXIAL) == (
            "slice: 4 of 6, the middle one",
            "scaled: 8 bit by 1/255",
            UNKNOWN,
            "orientation: axial, turned, columns to L, rows to P",
        )
        assert read_image(tmp_path / name).spacing_mm == (3, 2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
def test_values_of_any_type_are_scaled_by_percentiles(
    tmp_path: Path, kind: str, order: Literal["<", ">"]
) -> None:
    array = VOLUME.astype(kind) * 7
    low, high = np.percentile(array, [0.5, 99.5])
    same(write(tmp_path, array, order=order), ((AXIAL * 255 * 7 - low) / (high - low)).clip(0, 1))


def test_spm_s_scale_is_used(tmp_path: Path) -> None:
    applied = same(write(tmp_path, slope=1.0), AXIAL)
    scaled = read_image(write(tmp_path, slope=0.5)).applied
    assert "scaled: 8 bit by 1/255" in applied
    low, high = np.percentile(VOLUME * 0.5, [0.5, 99.5])
    assert f"scaled: {low:g} to {high:g}, percentiles 0.5 and 99.5 of the volume" in scaled


@pytest.mark.parametrize(
    ("orient", "stored"),
    [
        (b"\1", VOLUME.transpose(0, 2, 1)),
        (b"\2", VOLUME.transpose(1, 2, 0)),
        (b"\3", VOLUME[:, ::-1]),
        (b"\4", VOLUME.transpose(0, 2, 1)[:, ::-1]),
        (b"\5", VOLUME.transpose(1, 2, 0)[:, ::-1]),
        (b"\x09", VOLUME),
    ],
)
def test_volumes_stored_otherwise_give_the_same_slice(
    tmp_path: Path, orient: bytes, stored: np.ndarray
) -> None:
    assert UNKNOWN in same(write(tmp_path, stored, orient=orient), AXIAL)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_nifti_in_two_files_is_read_as_in_one(tmp_path: Path, kind: Any, suffix: str) -> None:
    affine = np.diag([-2.0, 3, 4, 1])
    nibabel.save(kind(VOLUME, affine), tmp_path / f"x.img{suffix}")
    nibabel.save(nibabel.Nifti1Image(VOLUME, affine), tmp_path / "one.nii")
    one = read_image(tmp_path / "one.nii")
    for name in (f"x.hdr{suffix}", f"x.img{suffix}"):
        assert same(tmp_path / name, one.pixels[0].numpy()) == one.applied


# what is refused --------------------------------------------------------------------------------
def test_voxels_that_are_missing_are_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "x.img").unlink()
    with pytest.raises(ImageError, match=r"x\.hdr: expected its voxels x\.img beside it, found no"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_that_is_missing_is_named(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, names=("x.hdr", f"x.img{suffix}"))
    (tmp_path / "x.hdr").unlink()
    with pytest.raises(ImageError, match=r"x\.img.*: expected its header x\.hdr beside it, found"):
        read_image(tmp_path / f"x.img{suffix}")


def test_voxels_cut_short_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "x.img").write_bytes(VOLUME.tobytes()[:-1])
    with pytest.raises(ImageError, match=r"x\.img: expected a whole Analyze volume"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"ENVI\nsamples = 4\n", b"#?RADIANCE\n" + bytes(400)])
def test_other_files_of_that_name_are_no_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.hdr").write_bytes(content)
    (tmp_path / "x.img").write_bytes(bytes(120))
    assert image_files(tmp_path) == []
    for name in ("x.hdr", "x.img"):
        with pytest.raises(ImageError, match="expected"):
            read_image(tmp_path / name)


# folders ----------------------------------------------------------------------------------------
def test_a_pair_is_one_image_of_a_folder(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(6):
            folder = tmp_path / label
            folder.mkdir(exist_ok=True)
            array = np.roll(VOLUME, number, axis=0) + np.uint8(label == "b")
            write(folder, array, names=(f"{number}.hdr", f"{number}.img"))
    assert [path.suffix for path in image_files(tmp_path)] == [".hdr"] * 12
    assert not is_image(tmp_path / "a" / "0.img")
    data = load_dataset(tmp_path)
    assert sum(len(getattr(data, name).labels) for name in SPLITS) == 12
    assert not [note for note in data.notes if "no images" in note]
