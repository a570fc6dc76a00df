"""Stored greys to what a reader sees: modality, then window or VOI table, then inversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.layout import Layout
from medlego.images.dicom.tables import grey_table

GREY_KEYWORDS = (
    "Modality",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
CT_RANGE_HU = (-1024.0, 3071.0)
"""What CT without a window is scaled by: the 12 bits that scanners measure in."""

_Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Greys:
    """A frame's way from stored values to [0, 1] and the phrases that say so.

    `padding` is the range of stored values that are no image, black in the end.
    """

    modality: _Map
    voi: _Map
    inverted: bool
    padding: tuple[int, int] | None
    applied: tuple[str, ...]

    def show(self, stored: np.ndarray, layout: Layout) -> np.ndarray:
        """Stored values, (rows, columns), as float32 in [0, 1].

        Integers of up to 16 bits are looked up in a table of all of them, which is as exact and
        faster.
        """
        if layout.real or layout.stored > 16:
            return self._map(stored)
        table = self._map(np.arange(layout.lowest, layout.highest + 1))
        grey: np.ndarray = table.take(stored.astype(np.int32) - layout.lowest, mode="clip")
        return grey

    def _map(self, stored: np.ndarray) -> np.ndarray:
        grey = self.voi(self.modality(stored.astype(np.float64)))
        grey = np.nan_to_num(np.clip(grey, 0.0, 1.0))
        if self.inverted:
            grey = 1.0 - grey
        if self.padding is not None:
            low, high = self.padding
            grey[(stored >= low) & (stored <= high)] = 0.0
        result: np.ndarray = grey.astype(np.float32)
        return result


def read_greys(elements: Elements, layout: Layout, frame: int) -> Greys:
    """What a header says of one frame's greys.

    Args:
        elements: those of `GREY_KEYWORDS`.
        layout: of the pixels.
        frame: index from 0.

    Raises:
        ElementError: a table or number that is damaged, or values without any range.
    """
    modality, low, high, phrases, hounsfield = _modality(elements, layout, frame)
    voi, windowed = _voi(elements, frame, signed=low < 0)
    if voi is None:
        if layout.real or layout.stored > 16:
            raise ElementError(
                "WindowWidth: expected a window for floating-point or 32-bit values, got none",
                "give the file a window, or convert it to 16 bits",
            )
        if hounsfield:
            low, high = CT_RANGE_HU
            windowed = (*windowed, f"scaled: {low:g} to {high:g} HU")
        else:
            windowed = (*windowed, f"scaled: {low:g} to {high:g}, all that is stored")
        voi = _line(low, high)
    inverted = layout.photometric == "MONOCHROME1"
    padding = _padding(elements, layout)
    applied = [*phrases, *windowed]
    applied += ["greys: inverted, MONOCHROME1"] * inverted
    applied += ["padding: black"] * (padding is not None)
    return Greys(modality, voi, inverted, padding, tuple(applied))


def functional(elements: Elements, frame: int, keyword: str) -> Elements | None:
    """A functional group's item for a frame, its own or the one that all frames share."""
    own = elements.item("PerFrameFunctionalGroupsSequence", frame)
    shared = elements.item("SharedFunctionalGroupsSequence")
    for groups in (own, shared):
        item = groups.item(keyword) if groups is not None else None
        if item is not None:
            return item
    return None


def _modality(
    elements: Elements, layout: Layout, frame: int
) -> tuple[_Map, float, float, list[str], bool]:
    """The map, its range over the stored bits, what to say, and whether its unit is HU."""
    item = elements.item("ModalityLUTSequence")
    if item is not None:
        table = grey_table(item, signed=layout.signed)
        top = float((1 << table.bits) - 1)
        return (lambda x: table(x) * top), 0.0, top, ["modality: lookup table"], False
    source = functional(elements, frame, "PixelValueTransformationSequence") or elements
    slope, intercept = source.number("RescaleSlope"), source.number("RescaleIntercept")
    low, high = float(layout.lowest), float(layout.highest)
    if slope is None and intercept is None:
        return (lambda x: x), low, high, [], False
    scale, shift = 1.0 if slope is None else slope, intercept or 0.0
    if not (np.isfinite(scale) and np.isfinite(shift) and scale):
        raise ElementError(
            "RescaleSlope, RescaleIntercept: expected finite numbers and a slope other than 0, "
            f"got {scale:g}, {shift:g}"
        )
    ends = sorted((low * scale + shift, high * scale + shift))
    unit = source.text("RescaleType") or "HU"
    hounsfield = elements.text("Modality") == "CT" and unit == "HU"
    phrases = [f"modality: slope {scale:g}, intercept {shift:g}"]
    return (lambda x: x * scale + shift), ends[0], ends[1], phrases, hounsfield


def _voi(elements: Elements, frame: int, *, signed: bool) -> tuple[_Map | None, tuple[str, ...]]:
    """The first VOI table, or else the first window; None where there is neither."""
    source = functional(elements, frame, "FrameVOILUTSequence") or elements
    items = source.items("VOILUTSequence")
    if items:
        return grey_table(items[0], signed=signed), (
            f"window: lookup table{_first_of(len(items))}",
        )
    centres, widths = source.numbers("WindowCenter"), source.numbers("WindowWidth")
    if not centres or not widths:
        return None, ()
    function = source.text("VOILUTFunction") or "LINEAR"
    window = Window(centres[0], widths[0], function)
    if problem := window.problem():
        return None, (f"window: ignored, {problem}",)
    several = _first_of(min(len(centres), len(widths)))
    return window, (f"window: centre {centres[0]:g}, width {widths[0]:g}, {function}{several}",)


def _first_of(count: int) -> str:
    return f", the first of {count}" if count > 1 else ""


@dataclass(frozen=True)
class Window:
    """A window onto modality values, PS3.3 section C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    def problem(self) -> str | None:
        """Why it cannot be used, if so."""
        if self.function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            return "unknown function"
        least = 1.0 if self.function == "LINEAR" else 0.0
        if not (np.isfinite(self.centre) and np.isfinite(self.width)):
            return "no finite numbers"
        return None if self.width > 0 and self.width >= least else "width too small"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Modality values → [0, 1], apart from clipping."""
        if self.function == "SIGMOID":
            rise = np.clip(-4.0 * (values - self.centre) / self.width, -700.0, 700.0)
            curve: np.ndarray = 1.0 / (1.0 + np.exp(rise))
            return curve
        if self.function == "LINEAR_EXACT":
            exact: np.ndarray = (values - self.centre) / self.width + 0.5
            return exact
        if self.width == 1.0:
            step: np.ndarray = (values > self.centre - 0.5).astype(np.float64)
            return step
        linear: np.ndarray = (values - (self.centre - 0.5)) / (self.width - 1.0) + 0.5
        return linear


def _line(low: float, high: float) -> _Map:
    return lambda x: (x - low) / (high - low)


def _padding(elements: Elements, layout: Layout) -> tuple[int, int] | None:
    order: Literal["little", "big"] = "little" if elements.little else "big"
    values = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        content = elements.raw(keyword)
        if content is None or len(content) != 2 or layout.real:
            break
        values.append(int.from_bytes(content, order, signed=layout.signed))
    return (min(values), max(values)) if values else None
