"""DICOM pixels: each step by hand on a few values, in the standard's order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom import config
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicomfiles import (
    COMPRESSIONS,
    as_bytes,
    compress,
    dataset,
    encapsulated,
    grey_lut,
    item,
    palette,
    write,
)
from factories import make_base, make_brick
from medlego.errors import ImageError
from medlego.generalist import assemble
from medlego.images import Image, fit, from_array, read_image
from medlego.images.dicom import codecs
from medlego.images.dicom.reading import read_frame
from medlego.images.dicom.tables import LookupTable
from medlego.prediction import predict

RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
BYTES = np.arange(0, 192, 3, dtype=np.uint8).reshape(8, 8)
AXIAL = [1, 0, 0, 0, 1, 0]


def read(tmp_path: Path, array: np.ndarray, frame: int | None = None, **elements: Any) -> Image:
    return read_image(write(tmp_path / "x", dataset(array, **elements)), frame)


def same(image: Image, expected: np.ndarray) -> None:
    pixels = image.pixels.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, np.atleast_3d(expected), rtol=0, atol=1e-6)


# the range --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("array", "stored", "low", "high"),
    [
        (BYTES, 8, 0, 255),
        (BYTES // 4, 6, 0, 63),
        (RAMP, 16, 0, 65535),
        (RAMP, 12, 0, 4095),
        (RAMP.astype(np.int16) - 2048, 12, -2048, 2047),
        (RAMP.astype(np.int16) - 2048, 16, -32768, 32767),
        ((BYTES.astype(np.int16) - 90).astype(np.int8), 8, -128, 127),
    ],
    ids=["8", "6 of 8", "16", "12 of 16", "signed 12 of 16", "signed 16", "signed 8"],
)
def test_without_a_window_greys_are_scaled_by_what_is_stored(
    tmp_path: Path, array: np.ndarray, stored: int, low: int, high: int
) -> None:
    image = read(tmp_path, array, BitsStored=stored)
    same(image, (array - float(low)) / (high - low))
    assert image.applied == (f"scaled: {low:g} to {high:g}, all that is stored",)


def test_unused_bits_are_ignored(tmp_path: Path) -> None:
    image = read(tmp_path, RAMP | np.uint16(0xF000), BitsStored=12)
    same(image, RAMP / 4095)


def test_single_bits_are_black_and_white_in_every_frame(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    instance = dataset(masks, frames=3, BitsAllocated=1, BitsStored=1)
    packed = np.packbits(masks.reshape(-1), bitorder="little").tobytes()
    instance.PixelData = packed + bytes(len(packed) % 2)
    path = write(tmp_path / "x", instance)
    for number in range(3):
        same(read_image(path, number), masks[number])


def test_32_bits_are_read_by_their_window(tmp_path: Path) -> None:
    array = RAMP.astype(np.uint32) * 1000
    image = read(tmp_path, array, WindowCenter=2e6, WindowWidth=4e6, VOILUTFunction="LINEAR_EXACT")
    same(image, np.clip(array / 4e6, 0, 1))


def test_32_bits_without_a_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="WindowWidth: expected a window for floating-point or 32"):
        read(tmp_path, RAMP.astype(np.uint32))


@pytest.mark.parametrize(
    ("kind", "name"), [("f4", "FloatPixelData"), ("f8", "DoubleFloatPixelData")]
)
def test_floating_point_is_read_by_its_window(tmp_path: Path, kind: str, name: str) -> None:
    array = np.linspace(-1, 1, 64, dtype=kind).reshape(8, 8)
    array[0, 0] = np.nan
    instance = dataset(
        array, PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None
    )
    setattr(instance, name, array.tobytes())
    instance.WindowCenter, instance.WindowWidth, instance.VOILUTFunction = 0, 1, "LINEAR_EXACT"
    same(read_image(write(tmp_path / "x", instance)), np.nan_to_num(np.clip(array + 0.5, 0, 1)))


# modality ---------------------------------------------------------------------------------------
def test_rescaled_values_are_scaled_by_the_rescaled_range(tmp_path: Path) -> None:
    image = read(tmp_path, RAMP, BitsStored=12, RescaleSlope=-2, RescaleIntercept=100)
    same(image, 1 - RAMP / 4095)
    assert image.applied[0] == "modality: slope -2, intercept 100"


@pytest.mark.parametrize("stored", [12, 16])
def test_ct_without_a_window_is_scaled_by_twelve_bits_of_hounsfield_units(
    tmp_path: Path, stored: int
) -> None:
    image = read(
        tmp_path, RAMP, BitsStored=stored, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024
    )
    same(image, RAMP / 4095)
    assert image.applied[-1] == "scaled: -1024 to 3071 HU"


def test_ct_in_another_unit_is_scaled_by_what_is_stored(tmp_path: Path) -> None:
    unit: dict[str, Any] = {"Modality": "CT", "RescaleType": "MGML"}
    same(read(tmp_path, RAMP, RescaleSlope=1, RescaleIntercept=-1024, **unit), RAMP / 65535)


def test_modality_table_comes_before_the_window(tmp_path: Path) -> None:
    squares = np.arange(0, 4096, dtype=np.int64) ** 2 >> 8
    image = read(
        tmp_path,
        RAMP,
        ModalityLUTSequence=[grey_lut(0, squares, 16)],
        RescaleSlope=7,
        RescaleIntercept=7,
        WindowCenter=100,
        WindowWidth=200,
        VOILUTFunction="LINEAR_EXACT",
    )
    same(image, np.clip(squares[RAMP] / 200, 0, 1))
    assert image.applied[0] == "modality: lookup table"


# windows ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x, c, w: ((x - (c - 0.5)) / (w - 1) + 0.5).clip(0, 1)),
        ("LINEAR_EXACT", lambda x, c, w: ((x - c) / w + 0.5).clip(0, 1)),
        ("SIGMOID", lambda x, c, w: 1 / (1 + np.exp(-4 * (x - c) / w))),
    ],
)
def test_window_is_applied_after_rescaling(tmp_path: Path, function: str, expected: Any) -> None:
    window: dict[str, Any] = {
        "WindowCenter": [900, 5],
        "WindowWidth": [700, 5],
        "VOILUTFunction": function,
    }
    image = read(tmp_path, RAMP, RescaleSlope=0.5, RescaleIntercept=-100, **window)
    same(image, expected(RAMP * 0.5 - 100, 900.0, 700.0))
    assert image.applied[-1] == f"window: centre 900, width 700, {function}, the first of 2"


def test_window_of_width_one_is_a_step(tmp_path: Path) -> None:
    same(read(tmp_path, RAMP, WindowCenter=640, WindowWidth=1), RAMP >= 640)


@pytest.mark.parametrize(
    ("width", "function"), [(0, "LINEAR"), (-5, "SIGMOID"), (0, "LINEAR_EXACT")]
)
def test_window_of_no_width_is_ignored_and_said(
    tmp_path: Path, width: float, function: str
) -> None:
    image = read(tmp_path, RAMP, WindowCenter=5, WindowWidth=width, VOILUTFunction=function)
    same(image, RAMP / 65535)
    assert image.warnings[0].endswith(": ignored, width too small")


@pytest.mark.parametrize(
    ("function", "meant"),
    [
        ("sigmoid", "SIGMOID"),
        ("Sigmoid ", "SIGMOID"),
        ("linear exact", "LINEAR_EXACT"),
        ("LINEAR-EXACT", "LINEAR_EXACT"),
        ("CUBIC", "LINEAR"),
        ("", "LINEAR"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_functions_are_known_in_any_spelling_and_linear_where_nobody_knows_them(
    tmp_path: Path, function: str, meant: str
) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 900}
    image = read(tmp_path, RAMP, VOILUTFunction=function, **window)
    assert torch.equal(image.pixels, read(tmp_path, RAMP, VOILUTFunction=meant, **window).pixels)
    assert image.applied == (f"window: centre 2000, width 900, {meant}",)


@pytest.mark.parametrize(("slope", "width"), [(1e-4, 0.2), (1e-3, 0.999), (1e-6, 0.002)])
def test_linear_windows_narrower_than_one_stand_on_scaled_values(
    tmp_path: Path, slope: float, width: float
) -> None:
    image = read(
        tmp_path,
        RAMP,
        RescaleSlope=slope,
        RescaleIntercept=0,
        WindowCenter=width,
        WindowWidth=width,
    )
    same(image, np.clip((RAMP * slope - width) / width + 0.5, 0, 1))


def test_voi_table_goes_before_a_window_and_takes_negative_inputs(tmp_path: Path) -> None:
    entries = np.linspace(0, 255, 500).astype(int)
    image = read(
        tmp_path,
        RAMP.astype(np.int16) - 2048,
        VOILUTSequence=[grey_lut(-250, entries, 8, signed=True), grey_lut(0, entries, 8)],
        WindowCenter=0,
        WindowWidth=10,
    )
    same(image, entries[np.clip(RAMP.astype(int) - 2048 + 250, 0, 499)] / 255)
    assert image.applied == ("window: lookup table, the first of 2",)


def test_table_of_bytes_is_read(tmp_path: Path) -> None:
    table = grey_lut(0, np.arange(256), 8)
    table["LUTData"].value = bytes(range(255, -1, -1))
    same(read(tmp_path, BYTES, VOILUTSequence=[table]), 1 - BYTES / 255)


def test_greys_are_inverted_last(tmp_path: Path) -> None:
    window: dict[str, Any] = {
        "WindowCenter": 900,
        "WindowWidth": 700,
        "VOILUTFunction": "LINEAR_EXACT",
    }
    image = read(tmp_path, RAMP, PhotometricInterpretation="MONOCHROME1", **window)
    same(image, 1 - ((RAMP - 900.0) / 700 + 0.5).clip(0, 1))
    assert image.applied[-1] == "greys: inverted, MONOCHROME1"


def test_padding_is_black_also_where_greys_are_inverted(tmp_path: Path) -> None:
    instance = dataset(RAMP, PhotometricInterpretation="MONOCHROME1")
    instance.add_new("PixelPaddingValue", "US", 0)
    instance.add_new("PixelPaddingRangeLimit", "US", 64)
    expected = 1 - RAMP / 65535
    expected[RAMP <= 64] = 0
    image = read_image(write(tmp_path / "x", instance))
    same(image, expected)
    assert image.applied[-1] == "padding: black"


def test_window_and_table_of_functional_groups_are_the_frames_own(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP + 1])
    own = [
        item(
            FrameVOILUTSequence=[
                item(WindowCenter=c, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
            ]
        )
        for c in (500, 900)
    ]
    shared = item(
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5)],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
    )
    instance = dataset(frames, frames=2)
    instance.PerFrameFunctionalGroupsSequence = own
    instance.SharedFunctionalGroupsSequence = [shared]
    path = write(tmp_path / "x", instance)
    for number, centre in enumerate((500, 900)):
        image = read_image(path, number)
        same(image, ((frames[number] * 2.0 - 5 - centre) / 200 + 0.5).clip(0, 1))
        assert image.spacing_mm == (0.5, 0.25)


# colours ----------------------------------------------------------------------------------------
COLOURS = np.stack([BYTES, BYTES[::-1], 255 - BYTES], axis=2)


def test_window_is_ignored_on_colours(tmp_path: Path) -> None:
    same(read(tmp_path, COLOURS, WindowCenter=3, WindowWidth=2), COLOURS / 255)


@pytest.mark.parametrize(("bits", "got"), [(1, "1"), (32, "floating point")])
def test_colours_of_single_bits_or_floating_point_are_refused(
    tmp_path: Path, bits: int, got: str
) -> None:
    instance = dataset(np.zeros((8, 8, 3), np.uint8), BitsAllocated=bits, BitsStored=bits)
    if bits == 32:
        del instance.PixelData
        instance.FloatPixelData = bytes(8 * 8 * 3 * 4)
    with pytest.raises(ImageError, match=f"BitsAllocated: expected 8 to 32 for colours, got {got}"):
        read_image(write(tmp_path / "x", instance))


def test_planes_become_pixels(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(COLOURS.transpose(2, 0, 1))
    image = read(tmp_path, COLOURS, PlanarConfiguration=1, PixelData=planes.tobytes())
    same(image, COLOURS / 255)


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    red = np.broadcast_to(np.array([76, 85, 255], np.uint8), (8, 8, 3)).copy()
    image = read(tmp_path, red, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(image.pixels[:, 0, 0], [1, 0, 0], rtol=0, atol=0.01)
    assert image.applied[0] == "colour: YBR_FULL to RGB"


def test_palette_becomes_rgb_and_its_ends_go_on(tmp_path: Path) -> None:
    entries = np.random.default_rng(0).integers(0, 65536, (100, 3))
    image = read(
        tmp_path, BYTES, PhotometricInterpretation="PALETTE COLOR", **palette(50, entries, 16)
    )
    same(image, entries[np.clip(BYTES.astype(int) - 50, 0, 99)] / 65535)


def test_segmented_palette_is_expanded(tmp_path: Path) -> None:
    elements = palette(0, np.zeros((8, 3), int), 16)
    words = [0, 2, 10, 20, 1, 2, 40, 2, 2, 0, 0]  # 10 20, a line to 40, then both again
    for colour in ("Red", "Green", "Blue"):
        del elements[f"{colour}PaletteColorLookupTableData"]
        elements[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    small = np.arange(8, dtype=np.uint8).reshape(2, 4)
    image = read(tmp_path, small, PhotometricInterpretation="PALETTE COLOR", **elements)
    expected = np.array([10, 20, 30, 40, 10, 20, 30, 40]).reshape(2, 4) / 65535
    same(image, np.repeat(expected[..., None], 3, axis=2))


# frames, byte orders and compressions -----------------------------------------------------------
def test_the_middle_frame_is_read_unless_another_is_asked_for(tmp_path: Path) -> None:
    frames = np.stack([BYTES + n for n in range(4)]).astype(np.uint8)
    path = write(tmp_path / "x", dataset(frames, frames=4))
    same(read_image(path), frames[2] / 255)
    assert read_image(path).applied[0] == "frame: 3 of 4, the middle one"
    same(read_image(path, 0), frames[0] / 255)
    assert read_image(path, 0).applied[0] == "frame: 1 of 4"


@pytest.mark.parametrize("frame", [-1, 4])
def test_frame_that_is_not_there_is_refused(tmp_path: Path, frame: int) -> None:
    frames = np.stack([BYTES] * 4)
    path = write(tmp_path / "x", dataset(frames, frames=4))
    with pytest.raises(ImageError, match=f"expected a frame from 0 to 3, got {frame}"):
        read_image(path, frame)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("array", [RAMP, COLOURS], ids=["16 bit", "colours"])
def test_other_encodings_read_the_same(tmp_path: Path, syntax: UID, array: np.ndarray) -> None:
    expected = read(tmp_path, array)
    swap = syntax == ExplicitVRBigEndian
    content = array.byteswap().tobytes() if swap else array.tobytes()
    instance = dataset(array, syntax=syntax, PixelData=content)
    if swap and array.dtype == np.uint8:
        instance["PixelData"].VR = "OB"
    again = read_image(write(tmp_path / "y", instance))
    torch.testing.assert_close(again.pixels, expected.pixels, rtol=0, atol=0)


@pytest.mark.parametrize("rows", [3, 4])
def test_bytes_in_big_endian_words_are_swapped_in_every_frame(tmp_path: Path, rows: int) -> None:
    frames = np.arange(3 * rows * 3, dtype=np.uint8).reshape(3, rows, 3)
    content = frames.tobytes() + bytes(frames.size % 2)
    swapped = np.frombuffer(content, "u2").byteswap().tobytes()
    instance = dataset(frames, frames=3, syntax=ExplicitVRBigEndian, PixelData=swapped)
    path = write(tmp_path / "x", instance)
    for number in range(3):
        same(read_image(path, number), frames[number] / 255)


def test_file_without_preamble_and_meta_is_read(tmp_path: Path) -> None:
    content = as_bytes(dataset(RAMP))
    (tmp_path / "x").write_bytes(content[content.index(b"\x08\0\x16\0UI") :])
    same(read_image(tmp_path / "x"), RAMP / 65535)


@pytest.mark.parametrize("syntax", COMPRESSIONS, ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    "array",
    [np.tile(RAMP, (8, 8)), np.tile(COLOURS, (8, 8, 1)), np.tile(RAMP, (8, 8)).astype(np.int16)],
    ids=["16 bit", "colours", "signed"],
)
def test_lossless_compression_changes_nothing(
    tmp_path: Path, syntax: UID, array: np.ndarray
) -> None:
    stored: dict[str, Any] = {"BitsStored": 13} if array.dtype != np.uint8 else {}
    expected = read(tmp_path, array, **stored)
    again = read_image(write(tmp_path / "y", compress(dataset(array, **stored), syntax)))
    torch.testing.assert_close(again.pixels, expected.pixels, rtol=0, atol=0)
    assert again.applied == (f"decoded: {syntax.name}", *expected.applied)


@pytest.mark.parametrize("offsets", [True, False])
def test_compressed_frames_are_found_with_and_without_offsets(
    tmp_path: Path, offsets: bool
) -> None:
    frames = np.stack([np.tile(BYTES, (5, 5)) + n for n in range(3)]).astype(np.uint8)
    instance = compress(dataset(frames, frames=3), JPEGLSLossless)
    if not offsets:
        streams = [get_frame(instance.PixelData, n, number_of_frames=3) for n in range(3)]
        instance.PixelData = encapsulate(streams, has_bot=False)
    path = write(tmp_path / "x", instance)
    same(read_image(path, 1), frames[1] / 255)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (RLELossless, "pylibjpeg-rle"),
        (JPEGLSLossless, "pyjpegls"),
        (JPEG2000Lossless, "pylibjpeg-openjpeg"),
        (JPEGLosslessSV1, "python-gdcm"),
    ],
)
def test_missing_codec_is_named(
    tmp_path: Path, syntax: UID, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = compress(dataset(np.tile(BYTES, (5, 5))), RLELossless)
    instance.file_meta.TransferSyntaxUID = syntax
    path = write(tmp_path / "x", instance)

    class Nothing:
        available_plugins = ()

    monkeypatch.setattr(codecs, "get_decoder", lambda _uid: Nothing)
    message = rf"the package {package} to decode .*, got none installed; pip install 'medlego\[dic"
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_every_codec_of_the_extra_is_installed_here() -> None:
    for codec in codecs.CODECS.values():
        assert codec.plugin in get_decoder(codec.syntax).available_plugins


# geometry ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cosines", "turn", "said"),
    [
        (AXIAL, lambda a: a, "axial, as stored, columns to L, rows to P"),
        ([-1, 0, 0, 0, 1, 0], lambda a: a[:, ::-1], "axial, turned, columns to L, rows to P"),
        ([-1, 0, 0, 0, -1, 0], lambda a: a[::-1, ::-1], "axial, turned, columns to L, rows to P"),
        ([0, 1, 0, 1, 0, 0], lambda a: a.T, "axial, turned, columns to L, rows to P"),
        ([1, 0, 0, 0, 0, -1], lambda a: a, "coronal, as stored, columns to L, rows to F"),
        ([1, 0, 0, 0, 0, 1], lambda a: a[::-1], "coronal, turned, columns to L, rows to F"),
        ([0, 1, 0, 0, 0, -1], lambda a: a, "sagittal, as stored, columns to P, rows to F"),
        ([0, 0, -1, 0, -1, 0], lambda a: a.T[:, ::-1], "sagittal, turned, columns to P, rows to F"),
        ([0.8, 0.6, 0, -0.6, 0.8, 0], lambda a: a, "axial, as stored, columns to L, rows to P"),
    ],
)
def test_cross_section_is_turned_to_how_it_is_read(
    tmp_path: Path, cosines: list[float], turn: Any, said: str
) -> None:
    image = read(tmp_path, BYTES[:5], ImageOrientationPatient=cosines, PixelSpacing=[2, 3])
    same(image, turn(BYTES[:5]) / 255)
    assert image.applied[-1] == f"orientation: {said}"
    assert image.spacing_mm == ((2, 3) if image.pixels.shape == (1, 5, 8) else (3, 2))


@pytest.mark.parametrize("cosines", [[1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [0] * 6])
def test_orientation_that_is_none_is_ignored(tmp_path: Path, cosines: list[float]) -> None:
    same(read(tmp_path, BYTES, ImageOrientationPatient=cosines), BYTES / 255)


def test_projection_is_left_as_stored(tmp_path: Path) -> None:
    image = read(tmp_path, BYTES, PatientOrientation=["R", "H"])
    same(image, BYTES / 255)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_spacing_is_of_rows_then_of_columns(tmp_path: Path, keyword: str) -> None:
    spacing: dict[str, Any] = {keyword: [0.2, 0.1]}
    assert read(tmp_path, BYTES, **spacing).spacing_mm == (0.2, 0.1)


@pytest.mark.parametrize("spacing", [[0, 1], [-1, 1], [1e9, 1], None])
def test_spacing_that_is_none_is_unknown(tmp_path: Path, spacing: list[float] | None) -> None:
    elements: dict[str, Any] = {} if spacing is None else {"PixelSpacing": spacing}
    with config.disable_value_validation():
        assert read(tmp_path, BYTES, **elements).spacing_mm is None


def test_fit_keeps_proportions_in_millimetres() -> None:
    flat = fit(Image(torch.ones(1, 32, 64), spacing_mm=(2.0, 1.0)), 16)
    torch.testing.assert_close(flat, torch.ones(3, 16, 16), rtol=0, atol=1e-6)


def test_nearly_equal_spacing_changes_nothing() -> None:
    pixels = torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0))
    plain = fit(Image(pixels), 16)
    torch.testing.assert_close(fit(Image(pixels, (), (1.0, 1.001)), 16), plain, rtol=0, atol=0)


def test_frames_are_decoded_by_several_threads_at_once(tmp_path: Path) -> None:
    arrays = [np.tile(BYTES, (9, 9)) + np.uint8(n) for n in range(12)]
    paths = [
        write(tmp_path / str(n), compress(dataset(array), JPEGLSLossless))
        for n, array in enumerate(arrays)
    ]
    with ThreadPoolExecutor(3) as pool:
        for image, array in zip(pool.map(read_image, paths), arrays, strict=True):
            same(image, array / 255)


def test_generalist_answers_a_dicom_file_as_its_pixels(tmp_path: Path) -> None:
    base = make_base()
    generalist = assemble([make_brick("chest", base=base)])
    path = write(tmp_path / "IM0001", compress(dataset(np.tile(BYTES, (5, 5))), RLELossless))
    by_file, by_image = predict(generalist, [path, from_array(np.tile(BYTES, (5, 5)))], base=base)
    assert by_file.answers[0].probs == pytest.approx(by_image.answers[0].probs, abs=1e-6)
    assert by_file.applied == ("decoded: RLE Lossless", "scaled: 0 to 255, all that is stored")


def test_table_takes_its_ends_outside() -> None:
    table = LookupTable(10, np.array([0.0, 0.5, 1.0]), 8, 8)
    greys = table(np.array([-5.0, 10.0, 11.4, 99.0]))
    np.testing.assert_array_equal(greys, [0.0, 0.0, 0.5, 1.0])


def test_frame_is_contiguous_float32(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dataset(BYTES, ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]))
    pixels = read_frame(path, None, max_pixels=1000).pixels
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()


SIX_BITS = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffc3000b060008000801011100ffc4001600010101000000000000"
    "00000000000000010406ffda0008010100010000cfaaab42aab42aab42aab42aab42aab42aab42aabfffd9"
)
"""0 to 63 as JPEG Lossless of 6 bits, 8 × 8; `imagecodecs.jpeg8_encode` has written it."""


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_jpeg_of_fewer_than_8_bits_is_read(
    tmp_path: Path, dtype: type, *, signed: bool
) -> None:
    instance = dataset(np.zeros((8, 8), dtype), BitsStored=6, PixelRepresentation=int(signed))
    path = write(tmp_path / "x", encapsulated(instance, JPEGLosslessSV1, SIX_BITS))
    values = np.arange(64).reshape(8, 8)
    same(read_image(path), (values ^ 32 if signed else values) / 63)


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_2000_turns_its_own_colours_to_rgb(tmp_path: Path, bits: int) -> None:
    array = np.random.default_rng(0).integers(0, 1 << bits, (32, 32, 3))
    array = array.astype(np.uint8 if bits == 8 else np.uint16)
    instance = dataset(array, BitsStored=bits, PhotometricInterpretation="YBR_RCT")
    image = read_image(write(tmp_path / "x", compress(instance, JPEG2000Lossless)))
    same(image, array / ((1 << bits) - 1))


def test_32_bits_of_big_endian_files_are_words_of_16(tmp_path: Path) -> None:
    array = np.arange(64, dtype=np.uint32).reshape(8, 8) * 1_000_003
    words = array.astype("<u4").view("<u2").astype(">u2")
    window: dict[str, Any] = {
        "WindowCenter": 32e6,
        "WindowWidth": 64e6,
        "VOILUTFunction": "LINEAR_EXACT",
    }
    instance = dataset(array, syntax=ExplicitVRBigEndian, PixelData=words.tobytes(), **window)
    same(read_image(write(tmp_path / "x", instance)), array / 64e6)


def test_single_bits_of_big_endian_files_lie_in_words(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    packed = np.packbits(frames.reshape(-1), bitorder="little")
    words = packed.view("<u2").astype(">u2").tobytes()
    elements: dict[str, Any] = {"BitsAllocated": 1, "BitsStored": 1, "PixelData": words}
    instance = dataset(frames, frames=3, syntax=ExplicitVRBigEndian, **elements)
    path = write(tmp_path / "x", instance)
    for number in range(3):
        same(read_image(path, number), frames[number])


def test_palettes_of_bytes_lie_in_words_of_big_endian_files(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    elements = palette(0, colours, 8)
    for name, entries in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        words = entries.astype(np.uint8).view("<u2").astype(">u2")
        elements[f"{name}PaletteColorLookupTableData"] = words.tobytes()
    elements["PixelData"] = BYTES.view("<u2").astype(">u2").tobytes()
    elements["PhotometricInterpretation"] = "PALETTE COLOR"
    instance = dataset(BYTES, syntax=ExplicitVRBigEndian, **elements)
    same(read_image(write(tmp_path / "x", instance)), colours[BYTES] / 255)
