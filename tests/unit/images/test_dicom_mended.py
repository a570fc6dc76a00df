"""DICOM files that contradict themselves: what is mended, and that nothing is mended in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomfiles import as_bytes, compress, dataset, grey_lut, write
from medlego.images import Image, fit, read_image

RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def read(tmp_path: Path, array: np.ndarray, frame: int | None = None, **elements: Any) -> Image:
    return read_image(write(tmp_path / "x", dataset(array, **elements)), frame)


def same(image: Image, expected: np.ndarray, atol: float = 1e-6) -> None:
    pixels = image.pixels.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, np.atleast_3d(expected), rtol=0, atol=atol)


# pictures that a window leaves nothing of -------------------------------------------------------
OFF: dict[str, Any] = {"WindowCenter": 30000, "WindowWidth": 10}
NARROW: dict[str, Any] = {"WindowCenter": 0, "WindowWidth": 1e7}


@pytest.mark.parametrize("window", [OFF, NARROW], ids=["off", "too wide"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_that_leaves_no_picture_is_left_out_with_a_warning(
    tmp_path: Path, window: dict[str, Any], photometric: str, *, signed: bool
) -> None:
    array = RAMP.astype(np.int16) - 2048 * signed if signed else RAMP
    plain = read(tmp_path, array, BitsStored=12, PhotometricInterpretation=photometric)
    image = read(tmp_path, array, BitsStored=12, PhotometricInterpretation=photometric, **window)
    assert torch.equal(image.pixels, plain.pixels)
    assert plain.warnings == ()
    assert "left out, it leaves" in image.warnings[0]


def test_the_second_window_is_taken_where_the_first_leaves_nothing(tmp_path: Path) -> None:
    image = read(tmp_path, RAMP, WindowCenter=[30000, 2048], WindowWidth=[10, 4096])
    same(image, np.clip((RAMP - 2047.5) / 4095 + 0.5, 0, 1))
    assert image.applied[-1] == "window: centre 2048, width 4096, LINEAR, the second of 2"


def test_the_frame_s_own_range_is_the_last_resort(tmp_path: Path) -> None:
    instance = dataset(
        (RAMP / 4096).astype("f4"), PixelData=None, BitsStored=None, HighBit=None, **OFF
    )
    instance.FloatPixelData = (RAMP / 4096).astype("f4").tobytes()
    image = read_image(write(tmp_path / "x", instance))
    same(image, RAMP / RAMP.max())
    assert image.applied[-1].endswith(", the frame's own values")


@pytest.mark.parametrize("value", [0, 1000, 65535])
def test_a_blank_frame_stays_blank_and_says_so(tmp_path: Path, value: int) -> None:
    image = read(tmp_path, np.full((8, 8), value, np.uint16), **OFF)
    assert image.pixels.unique().numel() == 1
    assert image.warnings == ("warning: picture: one grey",)


def test_noise_of_a_blank_frame_is_not_blown_up(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 30, (8, 8)).astype(np.uint16)
    image = read(tmp_path, noise, **OFF)
    assert image.pixels.max() < 0.001
    assert image.warnings[-1].startswith("warning: picture: 0.0% of the range")


def test_padding_does_not_make_a_picture(tmp_path: Path) -> None:
    array = RAMP.copy()
    array[0] = 60000
    image = read(tmp_path, array, PixelPaddingValue=60000, WindowCenter=60000, WindowWidth=100)
    same(image, np.where(array == 60000, 0, array / 65535))
    assert "leaves one grey" in image.warnings[0]


@pytest.mark.parametrize(("declared", "used"), [(16, 12), (16, 8), (12, 10), (8, 12), (10, 16)])
def test_a_table_that_does_not_fill_its_bits_is_scaled_by_those_it_needs(
    tmp_path: Path, declared: int, used: int
) -> None:
    entries = np.linspace(0, (1 << used) - 1, 4096).round().astype(int)
    image = read(tmp_path, RAMP, BitsStored=12, VOILUTSequence=[grey_lut(0, entries, declared)])
    same(image, entries[RAMP] / ((1 << used) - 1))
    assert image.applied == (f"window: lookup table, {used} bits, not {declared}",)


@pytest.mark.parametrize("modality", ["XA", "RF", "XRF"])
@pytest.mark.parametrize("relationship", ["LOG", "DISP", None])
def test_the_modality_table_of_a_projection_is_not_for_display(
    tmp_path: Path, modality: str, relationship: str | None
) -> None:
    table = grey_lut(0, (np.arange(4096) ** 2 // 4096), 16)
    elements: dict[str, Any] = {"Modality": modality, "ModalityLUTSequence": [table]}
    if relationship:
        elements["PixelIntensityRelationship"] = relationship
    image = read(tmp_path, RAMP, BitsStored=12, **elements)
    same(image, RAMP / 4095)
    assert "not for display" in image.warnings[0]


# bits --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("stored", "high"), [(12, 15), (10, 13), (12, 12), (8, 15)])
def test_values_stand_where_the_high_bit_says(
    tmp_path: Path, stored: int, high: int, *, signed: bool
) -> None:
    values = np.linspace(0, (1 << stored) - 1, 64).astype(np.int64).reshape(8, 8)
    values -= (1 << (stored - 1)) * signed
    array = (values << (high - stored + 1)).astype(np.int16 if signed else np.uint16)
    shifted = read(tmp_path, array, BitsStored=stored, HighBit=high)
    plain = read(tmp_path, values.astype(array.dtype), BitsStored=stored)
    assert torch.equal(shifted.pixels, plain.pixels)
    assert shifted.applied[0] == f"bits: {stored}, from bit {high} down, as HighBit says"


@pytest.mark.parametrize("high", [3, 10, 20])
def test_a_high_bit_that_cannot_be_is_left_out_with_a_warning(tmp_path: Path, high: int) -> None:
    image = read(tmp_path, RAMP, BitsStored=12, HighBit=high)
    same(image, RAMP / 4095)
    assert image.warnings == ("warning: bits: 12, from bit 11 down, not as HighBit says",)


# colours -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("planar", [0, 1])
def test_three_bytes_a_pixel_are_not_subsampled(tmp_path: Path, planar: int) -> None:
    array = COLOURS if planar == 0 else COLOURS.transpose(2, 0, 1)
    elements: dict[str, Any] = {
        "Rows": 8,
        "Columns": 8,
        "PlanarConfiguration": planar,
        "SamplesPerPixel": 3,
    }
    images = [
        read_image(
            write(
                tmp_path / "x",
                dataset(
                    COLOURS, PhotometricInterpretation=name, PixelData=array.tobytes(), **elements
                ),
            )
        )
        for name in ("YBR_FULL", "YBR_FULL_422")
    ]
    assert torch.equal(images[0].pixels, images[1].pixels)
    assert images[0].warnings == ()
    assert "YBR_FULL by the number of bytes" in images[1].warnings[0]


@pytest.mark.parametrize("frames", [1, 3])
def test_two_bytes_a_pixel_are_subsampled(tmp_path: Path, frames: int) -> None:
    content = np.random.default_rng(1).integers(16, 240, 128 * frames, dtype=np.uint8).tobytes()
    elements: dict[str, Any] = {"PixelData": content, "NumberOfFrames": frames}
    images = [
        read(tmp_path, COLOURS, PhotometricInterpretation=name, **elements)
        for name in ("YBR_FULL_422", "YBR_FULL")
    ]
    assert torch.equal(images[0].pixels, images[1].pixels)
    assert images[0].warnings == ()
    assert "YBR_FULL_422 by the number of bytes" in images[1].warnings[0]


# numbers -----------------------------------------------------------------------------------------
def with_text(tmp_path: Path, before: str, after: str, **elements: Any) -> Path:
    """A file whose header says something else, of the same length, than pydicom would write."""
    content = as_bytes(dataset(RAMP, **elements))
    assert content.count(before.encode()) >= 1
    path = tmp_path / "x"
    path.write_bytes(content.replace(before.encode(), after.encode()))
    return path


def test_decimal_commas_are_points(tmp_path: Path) -> None:
    window: dict[str, Any] = {"WindowCenter": "2000.25", "WindowWidth": "1500.75"}
    plain = read(tmp_path, RAMP, **window)
    path = with_text(tmp_path, "2000.25", "2000,25", **window)
    path.write_bytes(path.read_bytes().replace(b"1500.75", b"1500,75"))
    image = read_image(path)
    assert torch.equal(image.pixels, plain.pixels)
    assert image.applied == plain.applied


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_a_spacing_with_commas_is_a_spacing(tmp_path: Path, keyword: str) -> None:
    path = with_text(tmp_path, "0.250", "0,250", **{keyword: ["0.250", "0.5"]})
    assert read_image(path).spacing_mm == (0.25, 0.5)


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("PixelSpacing", ["0.250", "0.250"], "0.2x0"),
        ("ImageOrientationPatient", ["1.250", "0", "0", "0", "1", "0"], "1.2?0"),
        ("PixelAspectRatio", ["12345", "12345"], "1_345"),
    ],
)
def test_geometry_that_cannot_be_read_never_loses_the_image(
    tmp_path: Path, keyword: str, value: list[str], text: str
) -> None:
    path = with_text(tmp_path, value[0], text, **{keyword: value})
    image = read_image(path)
    same(image, RAMP / 65535)
    assert image.spacing_mm is None
    assert image.warnings == (f"warning: {keyword}: ignored, it cannot be read",)


def test_a_window_that_cannot_be_read_never_loses_the_image(tmp_path: Path) -> None:
    path = with_text(tmp_path, "2000.5", "2o00.5", WindowCenter="2000.5", WindowWidth="100")
    image = read_image(path)
    same(image, RAMP / 65535)
    assert image.warnings == ("warning: window: ignored, its numbers cannot be read",)


def test_a_table_of_no_known_type_never_loses_the_image(tmp_path: Path) -> None:
    table = grey_lut(0, np.arange(4096), 12)
    content = as_bytes(dataset(RAMP, BitsStored=12, VOILUTSequence=[table]))
    before = b"\x28\0\x06\x30OW"
    assert content.count(before) == 1
    (tmp_path / "x").write_bytes(content.replace(before, b"\x28\0\x06\x30QW"))
    image = read_image(tmp_path / "x")
    same(image, RAMP / 4095)
    assert image.warnings == ("warning: window: lookup table ignored, it cannot be read",)


# proportions -------------------------------------------------------------------------------------
def test_pixels_have_the_proportions_that_the_aspect_ratio_says(tmp_path: Path) -> None:
    image = read(tmp_path, RAMP, PixelAspectRatio=[2, 1])
    assert image.aspect == 2.0
    assert (fit(image, 16)[0, :, :4] == 0).all()
    assert image.applied[-1] == "pixels: 2 high to 1 wide"


def test_a_spacing_goes_before_an_aspect_ratio(tmp_path: Path) -> None:
    image = read(tmp_path, RAMP, PixelAspectRatio=[2, 1], PixelSpacing=[0.5, 0.5])
    assert image.aspect == 1.0


# frames and fragments ----------------------------------------------------------------------------
LARGE = np.tile(RAMP, (8, 8))  # JPEG 2000 takes nothing smaller
FRAMES = np.stack([LARGE + n for n in range(4)])


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_more_frames_in_the_header_than_there_are_lose_none_of_those(
    tmp_path: Path, syntax: Any
) -> None:
    instance = dataset(FRAMES, frames=4)
    if syntax:
        compress(instance, syntax)
    instance.NumberOfFrames = 9
    path = write(tmp_path / "x", instance)
    for number in range(4):
        image = read_image(path, number)
        same(image, FRAMES[number] / 65535)
        assert "warning: frames: 4 there, 9 in the header" in image.warnings
    assert read_image(path).applied[0] == "frame: 3 of 4, the middle one"


@pytest.mark.parametrize("syntax", [None, JPEGLSLossless])
@pytest.mark.parametrize("number", [b"-9", b"4x", b"x4"])
def test_frames_are_counted_where_the_header_s_number_cannot_be_read(
    tmp_path: Path, syntax: Any, number: bytes
) -> None:
    instance = dataset(FRAMES, frames=4)
    instance.NumberOfFrames = 14
    path = write(
        tmp_path / "x", compress(dataset(FRAMES, frames=4), syntax) if syntax else instance
    )
    if syntax:
        header = b"(\0\x08\0IS\x02\0"
        content = path.read_bytes().replace(header + b"4 ", header + number)
    else:
        content = path.read_bytes().replace(b"IS\x02\x0014", b"IS\x02\0" + number)
    path.write_bytes(content)
    assert number in content
    same(read_image(path, 3), FRAMES[3] / 65535)
    assert "NumberOfFrames cannot be read" in read_image(path).warnings[0]


@pytest.mark.parametrize("ending", [b"", bytes(8), b"\xfe\xff", b"\0"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_fragments_need_no_delimiter_behind_them(
    tmp_path: Path, syntax: Any, ending: bytes
) -> None:
    content = as_bytes(compress(dataset(LARGE), syntax))
    (tmp_path / "x").write_bytes(content[:-8] + ending)
    image = read_image(tmp_path / "x")
    same(image, LARGE / 65535)
    assert image.warnings == ("warning: fragments: no delimiter behind them",)


def split(instance: Any, pieces: int, table: list[int] | None) -> Any:
    """The same frames in several fragments each, with an offset table of one's own."""
    count = int(instance.NumberOfFrames)
    frames = list(generate_frames(instance.PixelData, number_of_frames=count))
    whole = encapsulate(frames, fragments_per_frame=pieces, has_bot=table is None)
    if table is not None:
        offsets = np.array(table, "<u4").tobytes()
        whole = b"\xfe\xff\x00\xe0" + len(offsets).to_bytes(4, "little") + offsets + whole[8:]
    instance.PixelData = whole
    return instance


@pytest.mark.parametrize("table", [None, [], [0, 1, 2, 3], [0, 8, 8, 8], [9, 9, 9, 9]])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_frames_are_told_apart_whatever_the_offset_table_says(
    tmp_path: Path, syntax: Any, pieces: int, table: list[int] | None
) -> None:
    instance = split(compress(dataset(FRAMES, frames=4), syntax), pieces, table)
    path = write(tmp_path / "x", instance)
    for number in range(4):
        same(read_image(path, number), FRAMES[number] / 65535)


def test_a_codestream_of_8_bits_in_words_of_16_is_read(tmp_path: Path) -> None:
    array = (RAMP // 16).astype(np.uint8)
    instance = compress(dataset(array), JPEGLSLossless)
    instance.BitsAllocated = 16
    same(read_image(write(tmp_path / "x", instance)), array / 255)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_that_claim_to_be_signed_are_read_as_unsigned(
    tmp_path: Path, photometric: str
) -> None:
    plain = read(tmp_path, COLOURS, PhotometricInterpretation=photometric)
    image = read(tmp_path, COLOURS, PhotometricInterpretation=photometric, PixelRepresentation=1)
    assert torch.equal(image.pixels, plain.pixels)
    assert image.warnings == ("warning: colour: unsigned, though PixelRepresentation says signed",)
