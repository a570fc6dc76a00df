"""Small DICOM files for tests: any array, any elements, any compression that can be written."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

COMPRESSIONS = {
    RLELossless: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
}
"""Syntaxes that the installed encoders write, and the plugin that writes each."""


def dataset(
    array: np.ndarray, *, frames: int = 1, syntax: UID = ExplicitVRLittleEndian, **elements: Any
) -> FileDataset:
    """A data set around an array, (rows, columns), (rows, columns, 3), or frames of these.

    `syntax` is uncompressed; the array is in its byte order. `elements` are set last; one that is
    None is removed.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    instance = FileDataset("", {}, bytes(128), meta, syntax.is_implicit_VR, syntax.is_little_endian)
    instance.SOPClassUID = SecondaryCaptureImageStorage
    instance.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(
        entropy_srcs=[array.tobytes().hex(), str(sorted(elements.items(), key=str))]
    )
    shape = array.shape[1:] if frames > 1 else array.shape
    colour = len(shape) == 3
    instance.Rows, instance.Columns = shape[:2]
    instance.SamplesPerPixel = 3 if colour else 1
    if colour:
        instance.PlanarConfiguration = 0
    if frames > 1:
        instance.NumberOfFrames = frames
    instance.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    instance.BitsAllocated = instance.BitsStored = array.dtype.itemsize * 8
    instance.HighBit = instance.BitsStored - 1
    instance.PixelRepresentation = int(array.dtype.kind == "i")
    content = array.tobytes()
    instance.add_new("PixelData", "OW", content + bytes(len(content) % 2))
    for keyword, value in elements.items():
        if value is None:
            del instance[keyword]
        else:
            setattr(instance, keyword, value)
    if "BitsStored" in elements and "HighBit" not in elements:
        instance.HighBit = instance.BitsStored - 1
    return instance


def item(**elements: Any) -> Dataset:
    """A sequence's item."""
    entry = Dataset()
    for keyword, value in elements.items():
        setattr(entry, keyword, value)
    return entry


def grey_lut(first: int, entries: np.ndarray, bits: int, *, signed: bool = False) -> Dataset:
    """An item of a modality or VOI LUT sequence; fewer than 65,536 entries."""
    lut = Dataset()
    lut.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    lut.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return lut


def palette(first: int, colours: np.ndarray, bits: int) -> dict[str, Any]:
    """Palette elements from entries (n, 3)."""
    elements: dict[str, Any] = {}
    for name, entries in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries), first, bits]
        elements[f"{name}PaletteColorLookupTableData"] = entries.astype("<u2").tobytes()
    return elements


def compress(instance: FileDataset, syntax: UID) -> FileDataset:
    """The same data set, compressed losslessly."""
    instance.compress(syntax, encoding_plugin=COMPRESSIONS[syntax], generate_instance_uid=False)
    return instance


def encapsulated(instance: FileDataset, syntax: UID, *codestreams: bytes) -> FileDataset:
    """The same data set with codestreams of one's own as its frames."""
    instance.file_meta.TransferSyntaxUID = syntax
    instance.add_new("PixelData", "OB", encapsulate(list(codestreams)))
    instance["PixelData"].is_undefined_length = True
    return instance


def as_bytes(instance: FileDataset) -> bytes:
    """The file's content."""
    stream = BytesIO()
    instance.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write(path: Path, instance: FileDataset) -> Path:
    """Write the file, and say where."""
    path.write_bytes(as_bytes(instance))
    return path
