"""Small DICOM files of every kind that the standard allows, and what they must look like."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

try:
    import imagecodecs
except ImportError:  # the rows that it writes are left out
    imagecodecs = None

ROWS, COLUMNS = 32, 40
GREY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
NATIVE = {
    uid.ExplicitVRLittleEndian: None,
    uid.ImplicitVRLittleEndian: "+ti",
    uid.ExplicitVRBigEndian: "+tb",
    uid.DeflatedExplicitVRLittleEndian: "+td",
}
"""Uncompressed syntaxes, and how dcmconv is asked for those that it writes."""
LOSSY = {
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
}
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
ENCODED_BY_IMAGECODECS = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, *JPEG_LOSSLESS, *HTJ2K}
COMPRESSED = (
    *(uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, *JPEG_LOSSLESS),
    *(uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000, *HTJ2K),
)


@dataclass(frozen=True)
class Form:
    """An Image Pixel module, PS3.3 section C.7.6.3."""

    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool = False
    planar: int = 0
    table: str = ""
    """How a palette is stored: 8 or 16 bits, or in segments."""

    @property
    def samples(self) -> int:
        return 1 if self.photometric in (*GREY, PALETTE) else 3

    @property
    def low(self) -> int:
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def top(self) -> int:
        return (1 << (self.stored - self.signed)) - 1

    @property
    def name(self) -> str:
        sign = ", signed" if self.signed else ""
        high = f", high bit {self.high}" if self.high != self.stored - 1 else ""
        planar = ", by plane" if self.planar else ""
        table = f", {self.table}" if self.table else ""
        return f"{self.photometric} {self.stored} in {self.allocated}{sign}{high}{planar}{table}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (ROWS, COLUMNS, 3)[: 2 + (self.samples > 1)]


_BITS = [(1, 1, 0), (8, 8, 7), (8, 6, 5), (16, 16, 15), (16, 12, 11), (16, 10, 9), (16, 12, 15)]
_BITS += [(32, 32, 31), (32, 20, 19)]
GREYS = [
    Form(photometric, *bits, signed)
    for photometric, bits, signed in itertools.product(GREY, _BITS, [False, True])
    if not (signed and bits[0] == 1)
]
PALETTES = [
    Form(PALETTE, *bits, False, 0, table)
    for bits in [(8, 8, 7), (16, 12, 11), (16, 16, 15)]
    for table in ("8 bits", "16 bits", "16 bits from 40", "segments")
]
COLOURS = [
    *(Form("RGB", *bits, False, planar) for bits in _BITS[1:6] for planar in (0, 1)),
    *(Form("YBR_FULL", *bits, False, planar) for bits in (_BITS[1], _BITS[3]) for planar in (0, 1)),
    *(Form(f"YBR_{end}", 8, 8, 7) for end in ("FULL_422", "ICT", "RCT")),
    *(Form(f"YBR_{end}", 16, 12, 11) for end in ("ICT", "RCT")),
]

WINDOWS = (
    *("none", "one", "several", "LINEAR", "LINEAR_EXACT", "SIGMOID", "rescale", "rescale, one"),
    *("rescale, SIGMOID", "rescale, VOI LUT 12", "modality LUT", "modality LUT, one"),
    *("VOI LUT 8", "VOI LUT 12", "VOI LUT 16", "VOI LUT 8 of 32 entries"),
)
WRAPPINGS = {
    "a fragment, no table": (1, False),
    "a fragment, basic table": (1, True),
    "three fragments, no table": (3, False),
    "three fragments, basic table": (3, True),
    "a fragment, extended table": (1, None),
}
"""Fragments a frame, and whether a basic offset table is filled; None for an extended one."""


@dataclass(frozen=True)
class Case:
    """One file."""

    form: Form
    syntax: uid.UID
    window: str = "none"
    wrapping: str = "a fragment, basic table"
    frames: int = 1

    @property
    def name(self) -> str:
        wrapping = f"; {self.wrapping}, {self.frames} frames" if self.syntax not in NATIVE else ""
        return f"{self.form.name}; {self.syntax.name}; window {self.window}{wrapping}"

    @cached_property
    def values(self) -> np.ndarray:
        """Stored values, (frames, rows, columns[, 3]): smooth, with a little noise."""
        form = self.form
        rng = np.random.default_rng(0)
        y, x = np.mgrid[0 : 1 : ROWS * 1j, 0 : 1 : COLUMNS * 1j]
        planes = [0.3 * y + 0.7 * x, 0.5 * (1 - y) + 0.5 * x, 0.4 + 0.4 * y - 0.3 * x]
        share = planes[0] if form.samples == 1 else np.stack(planes, axis=2)
        frames = np.stack([np.roll(share, 5 * n, axis=0) for n in range(self.frames)])
        frames = (frames + rng.normal(0, 0.004, frames.shape)).clip(0, 1)
        dtype = np.dtype(f"{'i' if form.signed else 'u'}{max(1, form.allocated // 8)}")
        return np.rint(form.low + frames * (form.top - form.low)).astype(np.int64).astype(dtype)

    @property
    def has_window(self) -> bool:
        """Whether there are WindowCenter and WindowWidth."""
        name = self.window.removeprefix("rescale, ").removeprefix("modality LUT, ")
        return name in ("one", "several", "LINEAR", "LINEAR_EXACT", "SIGMOID")

    @cached_property
    def modality_range(self) -> tuple[float, float]:
        """Least and greatest value after the modality step."""
        if self.window.startswith("modality LUT"):
            return 0.0, 4095.0
        if self.window.startswith("rescale"):
            return self.form.low * 0.5 - 100.0, self.form.top * 0.5 - 100.0
        return float(self.form.low), float(self.form.top)

    @cached_property
    def centre_width(self) -> tuple[float, float]:
        low, high = self.modality_range
        return round(low + 0.45 * (high - low)), max(2, round(0.6 * (high - low)))

    @cached_property
    def grey_tables(self) -> dict[str, tuple[int, np.ndarray, int]]:
        """Modality and VOI tables: first input, entries, bits."""
        low, high = (round(end) for end in self.modality_range)
        tables = {}
        if self.window.startswith("modality LUT"):
            count = min(4096, self.form.top - self.form.low + 1)
            share = np.linspace(0, 1, count) ** 0.8
            tables["Modality"] = (self.form.low, np.rint(share * 4095).astype(int), 12)
        if "VOI LUT" in self.window:
            bits = int(self.window.partition("VOI LUT ")[2].split()[0])
            count = 32 if "32" in self.window else min(4096, high - low + 1)
            first = low + (high - low + 1 - count) // 2
            curve = (np.sin((np.linspace(0, 1, count) - 0.5) * np.pi) + 1) / 2
            tables["VOI"] = (first, np.rint(curve * ((1 << bits) - 1)).astype(int), bits)
        return tables

    @cached_property
    def palettes(self) -> tuple[int, np.ndarray, int]:
        """First input, entries (n, 3), bits."""
        bits = 8 if self.form.table == "8 bits" else 16
        first = 40 if "from 40" in self.form.table else 0
        share = np.linspace(0, 1, min(self.form.top + 1, 4096) - first)
        curves = np.stack([share, 1 - share, 0.5 + 0.5 * np.cos(3 * share)], axis=1)
        entries = np.rint(curves * ((1 << bits) - 1))
        if self.form.table == "segments":  # lines between three of them
            places = np.arange(len(entries))
            knots = [0, len(entries) // 2, len(entries) - 1]
            lines = [np.interp(places, knots, curve[knots]) for curve in entries.T]
            entries = np.rint(np.stack(lines, axis=1))
        return first, entries.astype(int), bits


def allowed(case: Case) -> bool:
    """Whether the standard allows the file (PS3.5 section 8.2, PS3.3 section C.7.6.3)."""
    form, syntax = case.form, case.syntax
    if case.window != "none":
        if form.photometric not in GREY or form.allocated == 1:
            return False
        if form.allocated == 32 and "LUT" in case.window:  # a descriptor says 16 bits
            return False
    first = case.grey_tables.get("VOI", (0,))[0]
    if first < -(1 << 15):
        return False
    mct = form.photometric in ("YBR_ICT", "YBR_RCT")
    if syntax in NATIVE:
        return not mct
    if form.allocated in (1, 32) or form.high != form.stored - 1:
        return False
    if form.photometric == "YBR_FULL" and form.allocated == 16:
        return False
    if syntax == uid.RLELossless:
        return not mct and form.photometric != "YBR_FULL_422" and "three" not in case.wrapping
    if form.planar and syntax not in (uid.JPEGLSLossless, uid.JPEGLSNearLossless):
        return False
    if syntax == uid.JPEGBaseline8Bit:
        fits = form.stored == form.allocated == 8 and not form.signed
        return fits and form.photometric != PALETTE and not mct
    if syntax == uid.JPEGExtended12Bit:
        fits = form.stored in (8, 12) and not form.signed
        return fits and form.photometric != PALETTE and not mct
    if form.photometric == PALETTE and syntax in LOSSY:
        return False
    if form.photometric == "YBR_FULL_422":
        return False
    if form.photometric == "YBR_FULL" and syntax in JPEG_LOSSLESS:  # no encoder here writes it
        return False
    if mct:
        ends = {"YBR_ICT": (uid.JPEG2000, uid.HTJ2K)}
        lossless = (uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)
        return syntax in ends.get(form.photometric, lossless)
    return form.photometric != "YBR_FULL" or syntax not in (uid.JPEG2000, *HTJ2K)


def cases() -> Iterator[Case]:
    """Every file: forms by syntaxes by windows, and by ways to wrap frames where compressed."""
    for form in (*GREYS, *PALETTES, *COLOURS):
        for syntax in (*NATIVE, *COMPRESSED):
            for window in WINDOWS:
                yield Case(form, syntax, window)
            for wrapping, frames in itertools.product(WRAPPINGS, (1, 3)):
                if syntax not in NATIVE:
                    yield Case(form, syntax, "none", wrapping, frames)


def writable(case: Case) -> bool:
    """Whether an encoder is installed."""
    return imagecodecs is not None or case.syntax not in ENCODED_BY_IMAGECODECS


def write(case: Case, path: Path) -> None:
    """Write the file; byte orders and deflating are dcmtk's work."""
    instance = _header(case)
    values, form = case.values, case.form
    shifted = values << (form.high - form.stored + 1)
    if case.syntax in NATIVE:
        instance.add_new("PixelData", "OW", _native(shifted, form))
        instance.save_as(path, enforce_file_format=True)
        if flag := NATIVE[case.syntax]:
            subprocess.run(["dcmconv", flag, str(path), str(path)], check=True, capture_output=True)
        return
    frames = [_codestream(case, instance, frame) for frame in values]
    count, table = WRAPPINGS[case.wrapping]
    instance.file_meta.TransferSyntaxUID = case.syntax
    if table is None:
        content, offsets, lengths = encapsulate_extended(frames)
        instance.ExtendedOffsetTable, instance.ExtendedOffsetTableLengths = offsets, lengths
    else:
        content = encapsulate(frames, fragments_per_frame=count, has_bot=table)
    instance.add_new("PixelData", "OB", content)
    instance["PixelData"].is_undefined_length = True
    instance.save_as(path, enforce_file_format=True)


def _header(case: Case) -> FileDataset:
    form = case.form
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    instance = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    instance.SOPClassUID = uid.SecondaryCaptureImageStorage
    instance.SOPInstanceUID = uid.generate_uid(entropy_srcs=[case.name])
    instance.Modality = "OT"
    instance.Rows, instance.Columns = ROWS, COLUMNS
    instance.SamplesPerPixel, instance.PhotometricInterpretation = form.samples, form.photometric
    instance.BitsAllocated, instance.BitsStored = form.allocated, form.stored
    instance.HighBit, instance.PixelRepresentation = form.high, int(form.signed)
    if form.samples == 3:
        instance.PlanarConfiguration = form.planar
    if case.frames > 1:
        instance.NumberOfFrames = case.frames
    if case.window.startswith("rescale"):
        instance.RescaleSlope, instance.RescaleIntercept, instance.RescaleType = 0.5, -100, "US"
    centre, width = case.centre_width
    if case.has_window:
        several = case.window == "several"
        instance.WindowCenter = [centre, centre / 2] if several else centre
        instance.WindowWidth = [width, width / 2] if several else width
    if (function := case.window.removeprefix("rescale, ")) in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        instance.VOILUTFunction = function
    for name, (first, entries, bits) in case.grey_tables.items():
        low = form.low if name == "Modality" else case.modality_range[0]
        table = Dataset()
        table.add_new("LUTDescriptor", "SS" if low < 0 else "US", [len(entries), first, bits])
        table.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
        if name == "Modality":
            table.ModalityLUTType = "US"
        setattr(instance, f"{name}LUTSequence", [table])
    if form.photometric == PALETTE:
        first, colours, bits = case.palettes
        for colour, entries in zip(("Red", "Green", "Blue"), colours.T, strict=True):
            name = f"{colour}PaletteColorLookupTable"
            setattr(instance, f"{name}Descriptor", [len(entries) % 65536, first, bits])
            if form.table == "segments":
                setattr(instance, f"Segmented{name}Data", _segments(entries))
            else:
                kind = "<u2" if bits == 16 else "u1"
                setattr(instance, f"{name}Data", entries.astype(kind).tobytes())
    return instance


def _segments(entries: np.ndarray) -> bytes:
    """A run of one entry, and lines to the middle and to the end, PS3.3 section C.7.9.2."""
    middle = len(entries) // 2
    words = [0, 1, entries[0], 1, middle, entries[middle]]
    words += [1, len(entries) - 1 - middle, entries[-1]]
    return np.array(words, "<u2").tobytes()


def _native(values: np.ndarray, form: Form) -> bytes:
    if form.allocated == 1:
        return np.packbits(values.reshape(-1), bitorder="little").tobytes()
    if form.photometric == "YBR_FULL_422":
        pairs = values.reshape(len(values), ROWS, COLUMNS // 2, 2, 3)
        values = np.concatenate([pairs[..., 0], pairs[..., 0, 1:]], axis=-1)
    if form.planar:
        values = np.moveaxis(values, 3, 1)
    content = values.tobytes()
    return content + bytes(len(content) % 2)


def _codestream(case: Case, instance: FileDataset, frame: np.ndarray) -> bytes:
    form, syntax = case.form, case.syntax
    words = frame.view(frame.dtype.str.replace("i", "u")) & ((1 << form.stored) - 1)
    if syntax in ENCODED_BY_IMAGECODECS:
        return bytes(_by_imagecodecs(form, syntax, frame, words))
    single = Dataset()
    single.update(instance)
    whole = FileDataset("", single, file_meta=instance.file_meta, preamble=bytes(128))
    if "NumberOfFrames" in whole:
        del whole.NumberOfFrames
    if form.samples == 3:
        whole.PlanarConfiguration = 0
    whole.add_new("PixelData", "OW", _native(frame[None], replace(form, planar=0)))
    whole.set_original_encoding(False, True)
    plugin = "pyjpegls" if syntax in uid.JPEGLSTransferSyntaxes else "pylibjpeg"
    settings: dict[str, Any] = {}
    if syntax == uid.JPEGLSNearLossless:
        settings["jls_error"] = 1
    if syntax == uid.JPEG2000:
        settings["j2k_psnr"] = [90]
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    whole.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False, **settings)
    return next(generate_frames(whole.PixelData, number_of_frames=1))


def _by_imagecodecs(form: Form, syntax: uid.UID, frame: np.ndarray, words: np.ndarray) -> Any:
    if syntax in HTJ2K:
        mct = form.photometric in ("YBR_ICT", "YBR_RCT")
        return imagecodecs.htj2k_encode(
            frame,
            level=None if syntax != uid.HTJ2K else 0.0002,
            rgb=mct,
            reversible=syntax != uid.HTJ2K,
        )
    if syntax in JPEG_LOSSLESS:
        predictor = 1 if syntax == uid.JPEGLosslessSV1 else 4
        return imagecodecs.jpeg8_encode(
            words,
            lossless=True,
            predictor=predictor,
            bitspersample=form.stored,
            **_components(form),
        )
    subsampling = "422" if form.photometric == "YBR_FULL_422" else "444"
    more = {"subsampling": subsampling} if form.samples == 3 else {}
    return imagecodecs.jpeg8_encode(
        words, level=97, bitspersample=form.stored, **more, **_components(form)
    )


def _components(form: Form) -> dict[str, str]:
    """Samples are coded as they stand: no codec turns colours here."""
    if form.samples == 1:
        return {}
    space = "rgb" if form.photometric == "RGB" else "ycbcr"
    return {"colorspace": space, "outcolorspace": space}


def shown(case: Case, stored: np.ndarray, photometric: str | None = None) -> np.ndarray:
    """Stored values of a frame in [0, 1] as PS3.3 has it, written without a line of medlego.

    `photometric` is that of the values where it is not the file's.
    """
    form, values = case.form, stored.astype(np.float64)
    photometric = photometric or form.photometric
    if photometric == PALETTE:
        first, colours, bits = case.palettes
        places = (values.astype(int) - first).clip(0, len(colours) - 1)
        return colours[places] / ((1 << bits) - 1)
    if photometric in ("YBR_FULL", "YBR_FULL_422"):  # section C.7.6.3.1.2
        if photometric == "YBR_FULL_422":
            values[:, 1::2, 1:] = values[:, ::2, 1:]
        y, cb, cr = np.moveaxis(values, 2, 0) / form.top
        cb, cr = (plane - (1 << (form.stored - 1)) / form.top for plane in (cb, cr))
        rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
        return np.stack(rgb, axis=2).clip(0, 1)
    return values / form.top if form.samples == 3 else _grey(case, values)


def _grey(case: Case, values: np.ndarray) -> np.ndarray:
    """Sections C.11.1 and C.11.2."""

    def looked_up(name: str, inputs: np.ndarray) -> tuple[np.ndarray, int]:
        first, entries, bits = case.grey_tables[name]
        return entries[np.rint(inputs - first).astype(int).clip(0, len(entries) - 1)], (
            1 << bits
        ) - 1

    if "Modality" in case.grey_tables:
        values = looked_up("Modality", values)[0].astype(np.float64)
    elif case.window.startswith("rescale"):
        values = values * 0.5 - 100
    low, high = case.modality_range
    centre, width = case.centre_width
    if "VOI" in case.grey_tables:
        entries, top = looked_up("VOI", values)
        grey = entries / top
    elif "SIGMOID" in case.window:
        grey = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif "EXACT" in case.window:
        grey = (values - centre) / width + 0.5
    elif case.has_window:
        grey = (values - (centre - 0.5)) / (width - 1) + 0.5
    else:
        grey = (values - low) / (high - low)
    grey = grey.clip(0, 1)
    return 1 - grey if case.form.photometric == "MONOCHROME1" else grey
