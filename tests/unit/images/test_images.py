"""Images: values by the type's range, nothing cut off, and a reason for every refusal."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from medlego.errors import ImageError
from medlego.images import Image, fit, from_array, image_files, read_image
from medlego.images.reading import KINDS

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)
DEEP = GREY.astype(np.uint16) * 257


def saved(path: Path, picture: Pillow.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def as_pixels(array: np.ndarray, top: float = 255.0) -> torch.Tensor:
    channels = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy((channels / top).astype(np.float32))


def same(image: Image, expected: torch.Tensor) -> None:
    assert image.pixels.dtype == torch.float32
    torch.testing.assert_close(image.pixels, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_8_bits_become_0_to_1(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    image = read_image(saved(tmp_path / f"x.{suffix}", Pillow.fromarray(array)))
    same(image, as_pixels(array))
    assert image.applied == ("scaled: 8 bit by 1/255",)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_become_0_to_1(tmp_path: Path, suffix: str) -> None:
    image = read_image(saved(tmp_path / f"x.{suffix}", Pillow.fromarray(DEEP)))
    same(image, as_pixels(DEEP, 65535.0))
    assert image.applied == ("scaled: 16 bit by 1/65535",)


def packed_tiff(path: Path, values: np.ndarray, bits: int, photometric: int = 1) -> Path:
    """An uncompressed TIFF of greys in two strips, rows starting on whole bytes."""
    height, width = values.shape
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(planes.reshape(height, -1).astype(np.uint8), axis=1)
    first = rows[: height // 2].tobytes()
    second = rows[height // 2 :].tobytes()
    at = 8 + len(first) + len(second)
    lists = struct.pack("<4L", 8, 8 + len(first), len(first), len(second))
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1}
    entries |= {278: height // 2}
    packed = [struct.pack("<HHLHH", tag, 3, 1, value, 0) for tag, value in entries.items()]
    packed += [struct.pack("<HHLL", 273, 4, 2, at), struct.pack("<HHLL", 279, 4, 2, at + 8)]
    packed.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    directory = struct.pack("<H", len(packed)) + b"".join(packed) + bytes(4)
    head = b"II*\0" + struct.pack("<L", at + len(lists))
    path.write_bytes(head + first + second + lists + directory)
    return path


def test_a_tag_of_a_tiff_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    path = packed_tiff(tmp_path / "x.tif", np.arange(12).reshape(3, 4), 12)
    content = path.read_bytes()
    bits, text = struct.pack("<HHL", 258, 3, 1), struct.pack("<HHL", 258, 2, 1)
    assert bits in content
    path.write_bytes(content.replace(bits, text))
    with pytest.raises(ImageError, match="expected a"):
        read_image(path)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_9_to_15_bits_is_scaled_by_them(
    tmp_path: Path, bits: int, photometric: int
) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (6, 5))
    values[0, :2] = 0, (1 << bits) - 1
    image = read_image(packed_tiff(tmp_path / "x.tif", values, bits, photometric))
    greys = values / ((1 << bits) - 1)
    same(image, torch.tensor(greys if photometric else 1 - greys, dtype=torch.float32)[None])
    assert image.applied[0] == f"scaled: {bits} bit by 1/{(1 << bits) - 1}"


@pytest.mark.parametrize("change", ["compressed", "short"])
def test_packed_tiff_that_cannot_be_unpacked_is_refused(tmp_path: Path, change: str) -> None:
    path = packed_tiff(tmp_path / "x.tif", np.zeros((6, 5), int), 10)
    content = path.read_bytes()
    if change == "compressed":
        content = content.replace(
            struct.pack("<HHLH", 259, 3, 1, 1), struct.pack("<HHLH", 259, 3, 1, 5)
        )
    else:
        content = content.replace(
            struct.pack("<HHLH", 257, 3, 1, 6), struct.pack("<HHLH", 257, 3, 1, 60000)
        )
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.tif: expected .* (convert it to 16 bits|fetch it)"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["bmp", "pgm", "ppm", "jp2"])
def test_other_formats_of_the_field_are_read(tmp_path: Path, suffix: str) -> None:
    array = np.tile(COLOUR if suffix == "ppm" else GREY, (16, 16, 1)[: 2 + (suffix == "ppm")])
    options = {"irreversible": False} if suffix == "jp2" else {}
    path = saved(tmp_path / f"x.{suffix}", Pillow.fromarray(array), **options)
    same(read_image(path), as_pixels(array))
    assert image_files(tmp_path) == [path]


@pytest.mark.parametrize("top", [1023, 4095, 65535])
def test_pgm_is_scaled_by_its_own_greatest_value(tmp_path: Path, top: int) -> None:
    values = np.linspace(0, top, 24).round().reshape(4, 6)
    (tmp_path / "x.pgm").write_bytes(f"P5 6 4 {top}\n".encode() + values.astype(">u2").tobytes())
    expected = torch.tensor(values / top, dtype=torch.float32)[None]
    torch.testing.assert_close(read_image(tmp_path / "x.pgm").pixels, expected, rtol=0, atol=1e-5)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(ImageError, match="expected an image file, got a device or pipe"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("array", [GREY, DEEP])
def test_tiff_whose_zero_is_white_is_inverted(tmp_path: Path, array: np.ndarray) -> None:
    path = saved(tmp_path / "x.tif", Pillow.fromarray(array))
    entry = struct.pack("<HHLH", 262, 3, 1, 1)
    content = path.read_bytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<HHLH", 262, 3, 1, 0)))
    top = np.iinfo(array.dtype).max
    same(read_image(path), 1 - as_pixels(array, top))


def test_32_bit_integers_within_16_bits_become_0_to_1(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Pillow.fromarray(DEEP.astype(np.int32)))
    same(read_image(path), as_pixels(DEEP, 65535.0))


def test_brightness_is_not_stretched(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Pillow.fromarray(np.full((3, 3), 51, np.uint8)))
    same(read_image(path), torch.full((1, 3, 3), 0.2))


def test_jpeg_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", Pillow.fromarray(COLOUR), quality=100, subsampling=0)
    torch.testing.assert_close(read_image(path).pixels, as_pixels(COLOUR), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("mode", "channels", "applied"),
    [
        ("1", 1, ()),
        ("LA", 1, ("colour: LA to grey",)),
        ("P", 3, ("colour: P to RGB",)),
        ("RGBA", 3, ("colour: RGBA to RGB",)),
    ],
)
def test_other_modes_become_grey_or_colour(
    tmp_path: Path, mode: str, channels: int, applied: tuple[str, ...]
) -> None:
    path = saved(tmp_path / "x.png", Pillow.fromarray(COLOUR).convert(mode))
    image = read_image(path)
    assert image.pixels.shape == (channels, 4, 6)
    assert image.applied == (*applied, "scaled: 8 bit by 1/255")


def test_cmyk_becomes_colour(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Pillow.fromarray(COLOUR).convert("CMYK"))
    torch.testing.assert_close(read_image(path).pixels, as_pixels(COLOUR), rtol=0, atol=0.01)


def test_transparent_palette_is_read(tmp_path: Path) -> None:
    picture = Pillow.fromarray(COLOUR).quantize(4)
    path = saved(tmp_path / "x.png", picture, transparency=b"\x00\x80\xff\xff")
    assert read_image(path).pixels.shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: a.T[:, ::-1]),
        (8, lambda a: a.T[::-1]),
    ],
)
def test_image_is_turned_as_exif_says(
    tmp_path: Path, orientation: int, turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(tmp_path / "x.png", Pillow.fromarray(GREY), exif=exif))
    same(image, as_pixels(np.ascontiguousarray(turn(GREY))))
    assert image.applied == ("orientation: turned as EXIF says", "scaled: 8 bit by 1/255")


def test_first_page_of_a_tiff_is_read(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(GREY), Pillow.fromarray(255 - GREY)]
    path = saved(tmp_path / "x.tif", pages[0], save_all=True, append_images=pages[1:])
    same(read_image(path), as_pixels(GREY))


def test_other_page_of_a_tiff_is_read_when_asked_for(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(GREY), Pillow.fromarray(255 - GREY)]
    path = saved(tmp_path / "x.tif", pages[0], save_all=True, append_images=pages[1:])
    same(read_image(path, 1), as_pixels(255 - GREY))
    with pytest.raises(ImageError, match="expected a frame from 0 to 1, got 2"):
        read_image(path, 2)


def test_other_page_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    pages = [Pillow.new("1", (side, side)) for side in (10, 11)]
    path = saved(tmp_path / "x.tif", pages[0], save_all=True, append_images=pages[1:])
    assert read_image(path, max_pixels=100).pixels.shape == (1, 10, 10)
    with pytest.raises(ImageError, match=r"x.tif: expected at most 100 pixels, got 11 × 11"):
        read_image(path, frame=1, max_pixels=100)


def test_suffix_does_not_decide(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", Pillow.fromarray(GREY), format="PNG")
    same(read_image(path), as_pixels(GREY))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"x\.png: expected an image file, found nothing there$"):
        read_image(tmp_path / "x.png")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"expected an image file, got a folder$"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"GIF89a" + bytes(20), b"\x89PNG\r\n"])
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    rule = rf"x\.png: expected {KINDS}, got something else; leave it out"
    with pytest.raises(ImageError, match=rule):
        read_image(tmp_path / "x.png")


def test_format_that_pillow_knows_but_medlego_does_not_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Pillow.fromarray(GREY), format="GIF")
    with pytest.raises(ImageError, match=f"expected {KINDS}"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = saved(tmp_path / f"x.{suffix}", Pillow.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"^{path}: expected "):
        read_image(path)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Pillow.fromarray(GREY.astype(np.float32)))
    with pytest.raises(ImageError, match="pixels of mode F outside 0 to 65535"):
        read_image(path)


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(tmp_path: Path, value: int) -> None:
    array = DEEP.astype(np.int32)
    array[0, 0] = value
    path = saved(tmp_path / "x.tif", Pillow.fromarray(array))
    with pytest.raises(ImageError, match="pixels of mode I outside 0 to 65535"):
        read_image(path)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    start = chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(80_000_001, 1), (9_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_image_of_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, width: int, height: int
) -> None:
    (tmp_path / "x.png").write_bytes(png_of(width, height))
    rule = r"x\.png: expected at most 80,000,000 pixels, got .*; shrink it first$"
    with pytest.raises(ImageError, match=rule):
        read_image(tmp_path / "x.png")


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(COLOUR).save(stream, suffix)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore")
@given(
    suffix=st.sampled_from(["PNG", "JPEG", "TIFF"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_damaged_image_is_refused_or_lies_within_0_and_1(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(encoded(suffix))
    for place, mask in flips:
        content[int(place * (len(content) - 1))] ^= mask
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        pixels = read_image(path).pixels
    except ImageError:
        return
    assert pixels.shape[0] in (1, 3)
    assert ((pixels >= 0) & (pixels <= 1)).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2), np.uint16),
        np.zeros(2, np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 2, 3), np.uint8),
    ],
    ids=["float", "16 bit", "one axis", "four channels", "four axes"],
)
def test_array_of_another_kind_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"^array: expected uint8 \(h, w\) or \(h, w, 3\), got "):
        from_array(array)


@pytest.mark.parametrize("array", [GREY, COLOUR, COLOUR[::-1]], ids=["grey", "colour", "strided"])
def test_array_becomes_an_image(array: np.ndarray) -> None:
    same(from_array(array), as_pixels(array))


@pytest.mark.parametrize(("height", "width"), [(10, 10), (10, 20), (20, 10), (1, 50), (7, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_makes_a_square_of_three_channels(height: int, width: int, channels: int) -> None:
    pixels = fit(Image(torch.rand(channels, height, width)), 16)
    assert pixels.shape == (3, 16, 16)
    assert ((pixels >= 0) & (pixels <= 1)).all()


def test_fit_leaves_an_image_of_the_right_size_alone() -> None:
    pixels = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fit(Image(pixels), 16), pixels, rtol=0, atol=0)


def test_fit_repeats_grey() -> None:
    pixels = fit(Image(torch.rand(1, 9, 9)), 16)
    torch.testing.assert_close(pixels[0], pixels[1], rtol=0, atol=0)
    torch.testing.assert_close(pixels[0], pixels[2], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "inside"),
    [((8, 16), (slice(4, 12), slice(None))), ((16, 8), (slice(None), slice(4, 12)))],
)
def test_fit_centres_the_whole_image_on_black(
    shape: tuple[int, int], inside: tuple[slice, slice]
) -> None:
    pixels = fit(Image(torch.ones(1, *shape)), 16)
    expected = torch.zeros(3, 16, 16)
    expected[(slice(None), *inside)] = 1.0
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-6)


def test_fit_keeps_proportions_when_shrinking() -> None:
    pixels = fit(Image(torch.ones(3, 100, 50)), 16)
    assert (pixels[0] > 0.5).any(1).sum() == 16
    assert (pixels[0] > 0.5).any(0).sum() == 8


def test_fit_does_not_alias_fine_patterns() -> None:
    stripes = torch.zeros(1, 64, 64)
    stripes[..., ::2] = 1.0
    inner = fit(Image(stripes), 16)[:, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), rtol=0, atol=0.05)


def test_a_picture_that_is_all_transparency_is_said_to_be_lost(tmp_path: Path) -> None:
    drawn = np.zeros((4, 4, 4), np.uint8)
    drawn[:2, :, 3] = 255
    image = read_image(saved(tmp_path / "x.png", Pillow.fromarray(drawn)))
    assert image.warnings == ("warning: picture: one grey, since transparency is left out",)
