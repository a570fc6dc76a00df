"""One frame of a DICOM file as it is meant to be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medlego.errors import ImageError
from medlego.images.dicom.codecs import NATIVE, check_codestream, codec_for
from medlego.images.dicom.colours import (
    PALETTE_KEYWORDS,
    has_supplement,
    show_palette,
    show_supplemented,
)
from medlego.images.dicom.decoding import decode_native, options
from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.frames import (
    FRAME_KEYWORDS,
    compressed_frame,
    native_frame,
    pixel_element,
)
from medlego.images.dicom.greyscale import GREY_KEYWORDS, functional, read_greys
from medlego.images.dicom.guarded_decode import GuardError, decode_guarded
from medlego.images.dicom.layout import GREY, LAYOUT_KEYWORDS, PALETTE, Layout, read_layout
from medlego.images.dicom.orientation import Turn, turn_for
from medlego.images.dicom.parsing import Parsed, parsed
from medlego.images.image import Image

_GEOMETRY_KEYWORDS = (
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
)
_KEYWORDS = (
    *LAYOUT_KEYWORDS,
    *FRAME_KEYWORDS,
    *GREY_KEYWORDS,
    *PALETTE_KEYWORDS,
    *_GEOMETRY_KEYWORDS,
)


def read_frame(path: Path, frame: int | None, *, max_pixels: int) -> Image:
    """Read one frame, its greys or colours as the file wants them shown.

    Args:
        path: a DICOM file.
        frame: index from 0; None is the middle one.
        max_pixels: largest rows × columns that is decoded.

    Returns:
        The frame, what was applied, and the distance of its rows and of its columns.

    Raises:
        ImageError: no image, damaged, too large, of another frame count, or without a codec.
    """
    with parsed(path, _KEYWORDS) as file:
        element = pixel_element(file)
        real = element.real_bits is not None
        layout = read_layout(path, file.elements, real=real, max_pixels=max_pixels)
        index = layout.frames // 2 if frame is None else frame
        if not 0 <= index < layout.frames:
            raise ImageError(
                f"{path}: expected a frame from 0 to {layout.frames - 1}, got {index}; "
                "choose one of these"
            )
        try:
            stored, decoded = _stored(file, layout, index)
            pixels, applied = _shown(stored, file, layout, index)
            turn, spacing = _geometry(file.elements, index)
        except ElementError as error:
            raise ImageError(f"{path}: {error}") from None
    steps = [*decoded, *applied]
    if layout.frames > 1:
        middle = ", the middle one" if frame is None else ""
        steps.insert(0, f"frame: {index + 1} of {layout.frames}{middle}")
    if turn is not None:
        pixels = turn(pixels)
        steps.append(turn.applied)
        spacing = spacing[::-1] if spacing and turn.transposed else spacing
    return Image.of(pixels, tuple(steps), spacing)


def _stored(file: Parsed, layout: Layout, index: int) -> tuple[np.ndarray, list[str]]:
    """The frame's stored values, colours as RGB, and what decoding did."""
    element = pixel_element(file)
    steps = []
    if layout.photometric.startswith("YBR"):
        if layout.allocated != 8:
            raise ElementError(f"BitsAllocated: expected 8 for YBR colours, got {layout.allocated}")
        steps.append(f"colour: {layout.photometric} to RGB")
    if file.syntax in NATIVE:
        content = native_frame(file, element, layout, index)
        return decode_native(content, file.syntax, layout, index), steps
    codec = codec_for(file.path, file.syntax, layout)
    content = compressed_frame(file, element, layout, index)
    check_codestream(file.path, content, file.syntax, layout)
    try:
        stored = decode_guarded(content, codec, options(layout))
    except GuardError as error:
        raise ImageError(
            f"{file.path}: expected a codestream that decodes, got a damaged one ({error}); "
            "fetch it again"
        ) from None
    return stored, [f"decoded: {file.syntax.name}", *steps]


def _shown(
    stored: np.ndarray, file: Parsed, layout: Layout, index: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    elements = file.elements
    if layout.photometric == PALETTE:
        rgb = show_palette(stored, elements, layout)
        return rgb, ("colour: palette to RGB",)
    if layout.photometric not in GREY:
        top = np.float32(layout.highest)
        rgb = (stored.astype(np.float32) / top).clip(0.0, 1.0)
        return rgb, (f"scaled: {layout.stored} bit by 1/{top:g}",)
    greys = read_greys(elements, layout, index)
    if has_supplement(elements):
        rgb = show_supplemented(stored, greys, elements, layout)
        return rgb, (*greys.applied, "colour: supplemental palette over greys")
    return greys.show(stored, layout), greys.applied


def _geometry(elements: Elements, index: int) -> tuple[Turn | None, tuple[float, float] | None]:
    plane = functional(elements, index, "PlaneOrientationSequence") or elements
    turn = turn_for(plane.numbers("ImageOrientationPatient"))
    measures = functional(elements, index, "PixelMeasuresSequence") or elements
    for keyword in _GEOMETRY_KEYWORDS[1:]:
        spacing = measures.numbers(keyword)
        if len(spacing) == 2 and all(0 < side < 1e4 for side in spacing):
            return turn, (spacing[0], spacing[1])
    return turn, None
