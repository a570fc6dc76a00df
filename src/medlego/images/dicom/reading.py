"""One frame of a DICOM file as it is meant to be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medlego.errors import ImageError, NoPatientImageError
from medlego.images.dicom.codecs import NATIVE, Codec, check_codestream, codec_for
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
    PixelElement,
    Spans,
    compressed_frame,
    compressed_spans,
    in_words,
    native_frame,
    native_layout,
    pixel_element,
)
from medlego.images.dicom.greyscale import GREY_KEYWORDS, read_greys
from medlego.images.dicom.groups import FunctionalGroups
from medlego.images.dicom.guarded_decode import GuardError, decode_guarded
from medlego.images.dicom.layout import (
    GREY,
    JPEG2000_COLOUR,
    LAYOUT_KEYWORDS,
    PALETTE,
    Layout,
    read_layout,
)
from medlego.images.dicom.objects import OBJECT_KEYWORDS, no_patient_image
from medlego.images.dicom.orientation import Turn, turn_for
from medlego.images.dicom.parsing import Parsed, parsed
from medlego.images.image import Image
from medlego.images.mending import WARNING

_SPACING_KEYWORDS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_KEYWORDS = (
    *OBJECT_KEYWORDS,
    *LAYOUT_KEYWORDS,
    *FRAME_KEYWORDS,
    *GREY_KEYWORDS,
    *PALETTE_KEYWORDS,
    *_SPACING_KEYWORDS,
    "ImageOrientationPatient",
    "PixelAspectRatio",
)


def read_frame(
    path: Path, frame: int | None, *, max_pixels: int, any_object: bool = False
) -> Image:
    """Read one frame, its greys or colours as the file wants them shown.

    Args:
        path: a DICOM file.
        frame: index from 0; None is the middle one.
        max_pixels: largest rows × columns that is decoded.
        any_object: read what is no image of a patient too.

    Returns:
        The frame, what was applied, and the distance of its rows and of its columns.

    Raises:
        NoPatientImageError: a segmentation, localizer, report, …
        ImageError: no image, damaged, too large, of another frame count, or without a codec.
    """
    with parsed(path, _KEYWORDS) as file:
        if not any_object and (kind := no_patient_image(file.elements, file.meta)):
            raise NoPatientImageError(f"{path}: expected an image of a patient, got {kind}")
        element = pixel_element(file)
        real = element.real_bits is not None
        layout = read_layout(path, file.elements, real=real, max_pixels=max_pixels)
        try:
            layout, decode = _decoder(file, element, layout)
            index = layout.frames // 2 if frame is None else frame
            if not 0 <= index < layout.frames:
                raise ImageError(
                    f"{path}: expected a frame from 0 to {layout.frames - 1}, got {index}; "
                    "choose one of these"
                )
            stored, decoded = decode(index)
            groups = FunctionalGroups(file.elements, index, layout.frames)
            pixels, applied = _shown(stored, file, layout, groups)
        except ElementError as error:
            raise ImageError(f"{path}: {error}") from None
        geometry = _Geometry.of(file.elements, groups)
    steps = [*layout.warnings, *decoded, *applied, *groups.warnings, *geometry.warnings]
    if layout.frames > 1:
        middle = ", the middle one" if frame is None else ""
        steps.insert(0, f"frame: {index + 1} of {layout.frames}{middle}")
    spacing, ratio = geometry.spacing_mm, geometry.ratio
    if ratio:
        steps.append(f"pixels: {ratio[0]:g} high to {ratio[1]:g} wide")
    if (turn := geometry.turn) is not None:
        pixels = turn(pixels)
        steps.append(turn.applied)
        if turn.transposed:
            spacing, ratio = (pair and pair[::-1] for pair in (spacing, ratio))
    return Image.of(pixels, tuple(steps), spacing, ratio)


_Decode = Callable[[int], tuple[np.ndarray, list[str]]]
"""A frame's number to its stored values, colours as RGB, and what decoding did."""


def _decoder(file: Parsed, element: PixelElement, layout: Layout) -> tuple[Layout, _Decode]:
    """The layout as the pixels have it, and what decodes their frames."""
    if file.syntax in NATIVE:
        layout = native_layout(file, element, layout)
        return layout, partial(_native, file, element, layout)
    codec = codec_for(file.path, file.syntax, layout)
    spans = compressed_spans(file, element, layout.frames)
    warnings = (*layout.warnings, *spans.warnings)
    layout = replace(layout, frames=len(spans.frames), warnings=warnings)
    return layout, partial(_compressed, file, codec, spans, layout)


def _native(
    file: Parsed, element: PixelElement, layout: Layout, index: int
) -> tuple[np.ndarray, list[str]]:
    """See `_Decode`."""
    steps = _check_colours(layout)
    content = native_frame(file, element, layout, index)
    if in_words(file, element, layout):
        steps.append("order: 32-bit values lie as two words, the lower first (PS3.5 7.3)")
    stored, said = decode_native(content, file.syntax, layout, index)
    return stored, [*steps, *said]


def _compressed(
    file: Parsed, codec: Codec, spans: Spans, layout: Layout, index: int
) -> tuple[np.ndarray, list[str]]:
    """See `_Decode`."""
    steps = _check_colours(layout)
    content = compressed_frame(file, spans, index)
    asked = options(layout, check_codestream(file.path, content, file.syntax, layout))
    if codec.plugin == "gdcm" and asked["bits_allocated"] == 8:
        asked["bits_stored"] = 8  # GDCM ends its process where a byte has bits to spare
    try:
        stored, said = decode_guarded(content, codec, asked)
    except GuardError as error:
        raise ImageError(
            f"{file.path}: expected a codestream that decodes, got a damaged one ({error}); "
            "fetch it again, or decompress it with gdcmconv --raw"
        ) from None
    if layout.signed and (spare := asked["bits_stored"] - layout.stored) > 0:
        stored = stored << spare >> spare
    return stored, [f"decoded: {file.syntax.name}", *steps, *said]


def _check_colours(layout: Layout) -> list[str]:
    if not layout.photometric.startswith("YBR"):
        return []
    if layout.allocated != 8 and layout.photometric not in JPEG2000_COLOUR:
        problem = f"BitsAllocated: expected 8 for YBR colours, got {layout.allocated}"
        raise ElementError(problem, "convert it to RGB")
    return [f"colour: {layout.photometric} to RGB"]


def _shown(
    stored: np.ndarray, file: Parsed, layout: Layout, groups: FunctionalGroups
) -> tuple[np.ndarray, tuple[str, ...]]:
    elements = file.elements
    if layout.photometric == PALETTE:
        rgb = show_palette(stored, elements, layout)
        return rgb, ("colour: palette to RGB",)
    if layout.photometric not in GREY:
        top = np.float32(layout.highest)
        rgb = (stored.astype(np.float32) / top).clip(0.0, 1.0)
        return rgb, (f"scaled: {layout.stored} bit by 1/{top:g}",)
    greys, applied = read_greys(elements, layout, groups).show(stored, layout)
    if has_supplement(elements):
        rgb = show_supplemented(stored, greys, elements, layout)
        return rgb, (*applied, "colour: supplemental palette over greys")
    return greys, applied


@dataclass(frozen=True)
class _Geometry:
    """How pixels lie and how far apart; what cannot be read is unknown, and `warnings` say so."""

    turn: Turn | None
    spacing_mm: tuple[float, float] | None
    ratio: tuple[float, float] | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, elements: Elements, groups: FunctionalGroups) -> _Geometry:
        unread = []

        def numbers(group: str | None, keyword: str) -> tuple[float, ...]:
            try:
                return (groups.source(group) if group else elements).numbers(keyword)
            except ElementError:
                unread.append(f"{WARNING}{keyword}: ignored, it cannot be read")
                return ()

        turn = turn_for(numbers("PlaneOrientationSequence", "ImageOrientationPatient"))
        spacings = (_pair(numbers("PixelMeasuresSequence", k), 1e4) for k in _SPACING_KEYWORDS)
        spacing = next((spacing for spacing in spacings if spacing), None)
        ratio = None if spacing else _pair(numbers(None, "PixelAspectRatio"), 1e6)
        if turn and groups.there and not spacing and not unread:
            unread.append(f"{WARNING}spacing: unknown, PixelMeasuresSequence does not say it")
        return cls(turn, spacing, ratio, tuple(unread))


def _pair(numbers: tuple[float, ...], below: float) -> tuple[float, float] | None:
    """Two positive numbers, of rows and of columns."""
    fits = len(numbers) == 2 and all(0 < number < below for number in numbers)
    return (numbers[0], numbers[1]) if fits else None
