"""One frame's bytes to an array: uncompressed ones here, compressed ones in a worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medlego.images.dicom.layout import Layout
from medlego.images.dicom.silence import heard


def options(layout: Layout, bits: int | None = None) -> dict[str, Any]:
    """What pydicom's decoders must be told of one frame; plain values that JSON can hold.

    `bits` are a codestream's own; up to 8 it decodes to bytes, whatever is allocated.
    """
    allocated = 8 if bits and bits <= 8 < layout.allocated else layout.allocated
    real = {32: "FloatPixelData", 64: "DoubleFloatPixelData"}
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": allocated,
        "bits_stored": min(layout.stored + layout.shift, allocated),
        "pixel_representation": int(layout.signed),
        "pixel_keyword": real[layout.allocated] if layout.real else "PixelData",
        "pixel_vr": "OB" if allocated == 8 else "OW",
    }


def decode_native(
    content: bytes, syntax: UID, layout: Layout, frame: int
) -> tuple[np.ndarray, list[str]]:
    """One uncompressed frame, (rows, columns) or (rows, columns, 3), YBR turned to RGB.

    With it come the library's warnings.

    Args:
        content: the frame's bytes; of 1-bit pixels with the bits before it in the first byte.
        syntax: says the byte order.
        layout: checked; `content` is as long as it says.
        frame: index from 0, which tells where 1-bit pixels start.
    """
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        start = frame * layout.frame_bits % 8
        return bits[start : start + layout.pixels].reshape(layout.rows, layout.columns), []
    with heard() as said:
        array, _ = get_decoder(syntax).as_array(content, index=0, **options(layout))
    return (array >> layout.shift if layout.shift else array), said


def decode_compressed(
    content: bytes, syntax: UID, plugin: str, frame_options: dict[str, Any]
) -> tuple[np.ndarray, list[str]]:
    """One codestream as an array, (rows, columns) or (rows, columns, 3), YBR turned to RGB.

    With it come the library's warnings. Runs in the worker: a codec may take any time and memory,
    or the process with it.
    """
    with heard() as said:
        array, _ = get_decoder(syntax).as_array(
            encapsulate([content]), index=0, decoding_plugin=plugin, **frame_options
        )
    return array, said
