"""DICOM and NIfTI files that lie: refused with a reason, within memory, and the process lives."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom import config
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from dicomfiles import as_bytes, compress, dataset, encapsulated, item, palette, write
from medlego.errors import ImageError
from medlego.images import find_dicom, read_header, read_image
from medlego.images.dicom import guarded_decode as guard
from medlego.images.dicom import parsing, sequences, stream
from medlego.images.dicom.codecs import CODECS
from medlego.images.dicom.decoding import options
from medlego.images.dicom.guarded_decode import GuardError, decode_guarded
from medlego.images.dicom.layout import Layout
from waiting import wait_until

GREY = np.random.default_rng(0).integers(0, 256, (40, 36), dtype=np.uint8)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
MEMORY_BYTES = 200 << 20
"""Most that refusing any of these files may take; all of them are smaller than 30 MB."""

CASES: dict[str, tuple[Callable[[], bytes], str]] = {}


def case(name: str, content: Callable[..., bytes], says: str) -> None:
    assert name not in CASES
    CASES[name] = (content, says)


def element(group: int, number: int, vr: bytes, length: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", group, number) + vr + b"\0\0" + struct.pack("<L", length) + content


def inserted(group: int, number: int, extra: bytes) -> bytes:
    """A whole file with more bytes in front of an element."""
    content = as_bytes(dataset(GREY))
    at = content.index(struct.pack("<HH", group, number), 132)
    return content[:at] + extra + content[at:]


def of(**elements: Any) -> Callable[[], bytes]:
    return lambda: as_bytes(dataset(GREY, **elements))


# what is claimed --------------------------------------------------------------------------------
case("65,535 squared pixels", of(Rows=65535, Columns=65535), r"expected at most 80,000,000 pixels")
case(
    "10 ^ 12 pixels in frames",
    of(Rows=4096, Columns=4096, NumberOfFrames=65536),
    r"expected 1,099,511,627,776 bytes of uncompressed pixels, got 1,440;",
)
case(
    "many frames and none of them whole",
    of(NumberOfFrames=2**31 - 1, Rows=400),
    "uncompressed pixels, got 1,440",
)
case("no rows", of(Rows=0), "Rows: expected 1 to 65535, got 0")
case("no rows at all", of(Rows=None), "Rows: expected 1 to 65535, got nothing")
case("64 bits", of(BitsAllocated=64, BitsStored=64), "BitsAllocated: expected one of 1, 8, 16, 32")
case("12 bits packed", of(BitsAllocated=12, BitsStored=12), "BitsAllocated: expected one of")
case("more bits stored than there are", of(BitsStored=9), "BitsStored: expected 1 to 8, got 9")
case("four samples", of(SamplesPerPixel=4), "SamplesPerPixel: expected 1 or 3, got 4")
case("two problems", of(Rows=0, Columns=0), r"2 problems\n.*Rows.*\n.*Columns")
case("colours of one sample", of(PhotometricInterpretation="RGB"), "expected one of MONOCHROME1, M")
case("no photometric interpretation", of(PhotometricInterpretation=None), "got nothing")
case("a palette that is not there", of(PhotometricInterpretation="PALETTE COLOR"), "RedPalette")
case("a slope of nothing", of(RescaleSlope=0, RescaleIntercept=0), "RescaleSlope, .* got 0, 0")


# what is parsed ---------------------------------------------------------------------------------
def deep(levels: int) -> bytes:
    nested = element(0x0020, 0x9999, b"SQ", 0xFFFFFFFF)
    return inserted(0x0028, 0x0002, nested + (OPEN_ITEM + nested) * levels)


case("sequences nested 20,000 deep", lambda: deep(20_000), "sequences nested a few levels deep")
case(
    "a sequence of a million empty items",
    lambda: inserted(0x0028, 0x0002, element(0x0020, 0x9999, b"SQ", 0xFFFFFFFF, ITEM * 1_000_000)),
    "expected a header of ordinary size",
)
case(
    "an element that claims 4 GB",
    lambda: inserted(0x0028, 0x0002, element(0x0021, 0x1010, b"OB", 0xFFFFFFFE)),
    "expected pixel data, got none",
)
case(
    "numbers that are none",
    lambda: inserted(0x7FE0, 0x0010, struct.pack("<HH2sH4s", 0x28, 0x1053, b"DS", 4, b"1A/ ")),
    "RescaleSlope: expected numbers",
)


def deflated(body: bytes) -> bytes:
    plain = dataset(GREY)
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    start = as_bytes(plain)
    at = start.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return start[:at] + packer.compress(body) + packer.flush()


case("deflated zeros without end", lambda: deflated(bytes(20 << 20)), "bytes after inflating")
case("deflated nothing", lambda: deflated(b""), "expected pixel data, got none")
case("deflated, but not", lambda: deflated(b"")[:-4] + b"\xff" * 40, "cannot be parsed")


# palettes ---------------------------------------------------------------------------------------
def segmented(*words: int, count: int = 256) -> Callable[[], bytes]:
    def content() -> bytes:
        elements = palette(0, np.zeros((count, 3), int), 16)
        for colour in ("Red", "Green", "Blue"):
            del elements[f"{colour}PaletteColorLookupTableData"]
            elements[f"Segmented{colour}PaletteColorLookupTableData"] = struct.pack(
                f"<{len(words)}H", *words
            )
        return as_bytes(dataset(GREY, PhotometricInterpretation="PALETTE COLOR", **elements))

    return content


SEGMENTS = "SegmentedRedPaletteColorLookupTableData: expected segments of 256 entries"
case("a line from nowhere", segmented(1, 256, 9), SEGMENTS)
case("segments that end early", segmented(0, 2, 5, 6), SEGMENTS)
case("segments cut short", segmented(0, 1, 7, 1, 255), SEGMENTS)
case("an empty segment repeated", segmented(0, 1, 7, 0, 0, 2, 65535, 6, 0), SEGMENTS)
case("a repetition of itself", segmented(0, 1, 7, 2, 65535, 6, 0), SEGMENTS)
case("a repetition of what is not there", segmented(0, 1, 7, 2, 5, 4096, 1), SEGMENTS)
case(
    "a palette shorter than it says",
    of(
        PhotometricInterpretation="PALETTE COLOR",
        **palette(0, np.zeros((200, 3), int), 16) | {"RedPaletteColorLookupTableData": bytes(20)},
    ),
    "RedPaletteColorLookupTableData: expected 200 entries",
)


# preambles --------------------------------------------------------------------------------------
def preamble(start: bytes) -> bytes:
    return start.ljust(128, b"\0") + as_bytes(dataset(GREY))[128:]


for program in (b"MZ\x90\0", b"\x7fELF\x02\x01", b"#!/bin/sh\n", b"\xcf\xfa\xed\xfe"):
    case(
        f"a preamble of {program!r}",
        lambda start=program: preamble(start),
        "expected a preamble that starts no program, got a",
    )


# codestreams ------------------------------------------------------------------------------------
def jpeg(array: np.ndarray) -> bytes:
    packed = BytesIO()
    Pillow.fromarray(array).save(packed, "JPEG")
    return packed.getvalue()


def codestream(syntax: UID, array: np.ndarray = GREY) -> bytes:
    if syntax == JPEGBaseline8Bit:
        return jpeg(array)
    return get_frame(compress(dataset(array), syntax).PixelData, 0, number_of_frames=1)


def holding(syntax: UID, *streams: bytes, **elements: Any) -> Callable[[], bytes]:
    return lambda: as_bytes(encapsulated(dataset(GREY, **elements), syntax, *streams))


SYNTAXES = (JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless)
for syntax in SYNTAXES:
    larger = codestream(syntax, np.tile(GREY, (20, 20)))
    case(
        f"{syntax.name} of another size",
        holding(syntax, larger),
        r"expected a codestream of 40 × 36 with 1 sample as the header claims, got one of 800 × 7",
    )
    case(
        f"{syntax.name} that is none",
        holding(syntax, b"none at all."),
        "got something else|got one cut short",
    )
    case(
        f"{syntax.name} cut in half",
        holding(syntax, codestream(syntax)[: len(codestream(syntax)) // 2]),
        "expected a codestream that decodes|cut short",
    )
case("RLE of too few segments", holding(RLELossless, bytes(64)), "expected an RLE frame of 1 seg")
case(
    "RLE that ends early",
    holding(RLELossless, struct.pack("<16L", 1, 64, *[0] * 14) + b"\xfe\x07"),
    "expected a codestream that decodes",
)
case("JPEG Lossless that is none", holding(JPEGLosslessSV1, jpeg(GREY)[:200]), "expected a code")
case("compressed by name only", lambda: as_named(JPEG2000Lossless), "got uncompressed ones")
case("uncompressed by name only", lambda: as_named(None), "got compressed ones")
case("a film", holding(UID("1.2.840.10008.1.2.4.102"), b"film"), "transfer syntax of still images")
case(
    "an unknown compression",
    holding(UID("1.2.3.4.5"), b"data"),
    "got an unknown one; decompress it",
)
case(
    "a fragment that is cut short",
    lambda: as_bytes(compress(dataset(GREY), RLELossless))[:-9],
    "expected compressed pixels in whole fragments, got ones that are cut short",
)
case("no compressed frame at all", holding(RLELossless, NumberOfFrames=5), "expected compressed p")


def as_named(syntax: str | None) -> bytes:
    if syntax is None:
        content = as_bytes(compress(dataset(GREY), RLELossless))
        return content.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    return as_bytes(dataset(GREY)).replace(
        b"\x02\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0",
        b"\x02\0\x10\0UI\x16\0" + b"1.2.840.10008.1.2.4.90",
    )


@pytest.fixture
def measured() -> Iterator[None]:
    """Refusing must not take much memory, whatever a file claims."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY_BYTES


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("name", CASES)
def test_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_READS", 20_000)
    monkeypatch.setattr(sequences, "MAX_STEPS", 20_000)
    monkeypatch.setattr(parsing, "MAX_INFLATED_BYTES", 10 << 20)
    content, says = CASES[name]
    (tmp_path / "x.dcm").write_bytes(content())
    with pytest.raises(ImageError, match=f"(?s)^{tmp_path}/x.dcm: .*({says})"):
        read_image(tmp_path / "x.dcm")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("length", [8 * 10**6, 0xFFFFFFFF])
def test_groups_of_a_million_frames_are_not_parsed(tmp_path: Path, length: int) -> None:
    groups = element(0x5200, 0x9230, b"SQ", length, ITEM * 10**6)
    (tmp_path / "x.dcm").write_bytes(inserted(0x7FE0, 0x0010, groups))
    warnings = read_image(tmp_path / "x.dcm").warnings
    assert warnings[-1] == "warning: groups: 1,000,000 for 1 frames"


def test_preamble_of_a_tiff_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(preamble(b"II*\0\x08\0\0\0"))
    assert read_image(tmp_path / "x.dcm").pixels.shape == (1, 40, 36)


# one file cut and changed anywhere --------------------------------------------------------------
def test_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    compressed = as_bytes(compress(dataset(GREY), RLELossless))
    for whole in (as_bytes(dataset(GREY)), compressed[:-8]):  # a delimiter is not needed
        for length in range(0, len(whole), 13):
            path.write_bytes(whole[:length])
            with pytest.raises(ImageError, match=rf"^{path}: "):
                read_image(path)


@given(
    syntax=st.sampled_from([None, RLELossless, JPEGLSLossless, JPEG2000Lossless]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_damaged_file_is_refused_or_lies_within_0_and_1(
    tmp_path_factory: pytest.TempPathFactory,
    syntax: str | None,
    flips: list[tuple[float, int]],
) -> None:
    instance = dataset(GREY, WindowCenter=100, WindowWidth=50, RescaleSlope=2, RescaleIntercept=-7)
    content = bytearray(as_bytes(compress(instance, UID(syntax)) if syntax else instance))
    for place, mask in flips:
        content[int(place * (len(content) - 1))] ^= mask
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(content)
    try:
        pixels = read_image(path).pixels
    except ImageError:
        return
    assert pixels.shape[0] in (1, 3)
    assert ((pixels >= 0) & (pixels <= 1)).all()


# the worker -------------------------------------------------------------------------------------
LAYOUT = Layout(40, 36, 1, 1, "MONOCHROME2", 0, 8, 8, False, False)
SAID = options(LAYOUT)


def decode(**changes: Any) -> np.ndarray:
    content = codestream(JPEGLSLossless)
    timeout_s = changes.pop("timeout_s", 60.0)
    return decode_guarded(content, CODECS[JPEGLSLossless], SAID | changes, timeout_s=timeout_s)[0]


@pytest.fixture
def stopped() -> Iterator[int]:
    """The process id of the one worker, which does not move on."""
    guard._pool.close()
    decode()
    process = guard._pool._waiting[0]._process
    os.kill(process.pid, signal.SIGSTOP)
    yield process.pid
    np.testing.assert_array_equal(decode(), GREY)


def test_codec_that_takes_too_long_is_stopped(stopped: int) -> None:
    with pytest.raises(GuardError, match=r"^it took longer than 0\.2 s$"):
        decode(timeout_s=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_codec_that_dies_takes_no_one_along(stopped: int) -> None:
    (worker,) = guard._pool._waiting

    def kill_at_work() -> None:
        wait_until(lambda: not worker.works)
        os.kill(stopped, signal.SIGKILL)

    killing = threading.Thread(target=kill_at_work)
    killing.start()
    with pytest.raises(GuardError, match=r"^its process ended$"):
        decode()
    killing.join()


def test_worker_that_died_while_waiting_is_replaced(stopped: int) -> None:
    process = guard._pool._waiting[0]._process
    os.kill(stopped, signal.SIGKILL)
    process.wait()
    np.testing.assert_array_equal(decode(), GREY)


def test_codec_that_wants_too_much_memory_is_refused() -> None:
    with pytest.raises(GuardError, match=r"^pyjpegls: .*MemoryError$"):
        decode(rows=65535, columns=65535, bits_allocated=32, bits_stored=32)
    np.testing.assert_array_equal(decode(), GREY)


# what leaks -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"Rows": 0, "PhotometricInterpretation": "SECRET"},
        {"NumberOfFrames": 7},
        {"PatientAge": "SECRET", "PatientSex": "SECRET"},
        {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "SECRET"},
    ],
)
def test_nothing_of_the_patient_is_said(
    tmp_path: Path,
    elements: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    instance = dataset(GREY, PatientName="SECRET^SECRET", PatientID="SECRET")
    instance.StudyDate = instance.PatientBirthDate = "20200101"
    with config.disable_value_validation():
        for keyword, value in elements.items():
            setattr(instance, keyword, value)
        path = write(tmp_path / "x.dcm", instance)
    content = path.read_bytes().replace(b"20200101", b"SECRET!!")
    path.write_bytes(content)
    said = [repr(read_header(path).modality)]
    try:
        said += read_image(path).applied
    except ImageError as error:
        said.append(str(error))
    said += [caplog.text, *capfd.readouterr()]
    assert not [text for text in said if "SECRET" in text and "PhotometricInterp" not in text]


# folders ----------------------------------------------------------------------------------------
def directory(folder: Path, *references: list[str]) -> None:
    dicomdir = dataset(GREY, PixelData=None, SOPClassUID=MediaStorageDirectoryStorage)
    with config.disable_value_validation():
        dicomdir.DirectoryRecordSequence = [
            item(DirectoryRecordType="IMAGE", ReferencedFileID=reference)
            for reference in references
        ]
        write(folder / "DICOMDIR", dicomdir)


@pytest.mark.parametrize(
    "reference", ["..|OUT", "A|..|..|OUT", "/etc|passwd", "..\\OUT", "../OUT", "LINK"]
)
def test_directory_that_leads_out_of_its_folder_is_refused(tmp_path: Path, reference: str) -> None:
    write(tmp_path / "OUT", dataset(GREY))
    inside = tmp_path / "IN"
    inside.mkdir()
    (inside / "LINK").symlink_to(tmp_path / "OUT")
    directory(inside, ["A"], reference.split("|"))
    with pytest.raises(ImageError, match=r"DICOMDIR: expected references to files inside"):
        find_dicom(inside)


# NIfTI ------------------------------------------------------------------------------------------
def volume(**changes: Any) -> bytes:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    if "dim" in changes:
        content[40:56] = struct.pack("<8h", *changes["dim"])
    if "kind" in changes:
        content[70:72] = struct.pack("<h", changes["kind"])
    return bytes(content)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (volume(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1)), "expected 1 to 268,435,456 voxels"),
        (volume(dim=(3, -1, 5, 6, 1, 1, 1, 1)), "expected"),
        (volume(dim=(1, 4, 1, 1, 1, 1, 1, 1)), "expected 1 to"),
        (volume(dim=(3, 512, 512, 100, 1, 1, 1, 1)), "cannot be read"),
        (volume(kind=128), "expected greys, got colours"),
        (volume(kind=32), "expected greys, got colours"),
        (volume(kind=999), "cannot be read"),
        (volume()[:-1], "cannot be read"),
        (gzip.compress(volume(dim=(3, 512, 512, 100, 1, 1, 1, 1))), "cannot be read"),
        (gzip.compress(volume(), 0)[:-40], "cannot be read"),
        (gzip.compress(bytes(30 << 20)), "got something else"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_volume_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(ImageError, match=f"^{tmp_path}/x.nii: .*{says}"):
        read_image(tmp_path / "x.nii")
