"""Stored greys to what a reader sees: modality, then window or VOI table, then inversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom import uid

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.groups import GROUP_KEYWORDS, FunctionalGroups
from medlego.images.dicom.layout import Layout
from medlego.images.dicom.tables import grey_table
from medlego.images.mending import LEAST_SPREAD, WARNING, share

GREY_KEYWORDS = (
    "SOPClassUID",
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
    *GROUP_KEYWORDS,
)
MAX_TABLES = 32
"""VOI tables that are tried; files have one or two."""

CT_RANGE_HU = (-1024.0, 3071.0)
"""What CT without a window is scaled by: the 12 bits that scanners measure in."""

_PROJECTIONS = frozenset({"XA", "XRF", "RF"})
_PROJECTION_CLASSES = frozenset(
    {uid.XRayAngiographicImageStorage, uid.XRayRadiofluoroscopicImageStorage}
)

_Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Way:
    """A way from modality values to [0, 1], apart from clipping, and the phrase that says so."""

    map: _Map
    phrase: str


@dataclass(frozen=True)
class Greys:
    """A frame's ways from stored values to [0, 1], best first.

    `padding` is the range of stored values that are no image, black in the end. `said` comes
    before what a way says, `inverted` and `padding` after it.
    """

    modality: _Map
    ways: tuple[Way, ...]
    inverted: bool
    padding: tuple[int, int] | None
    said: tuple[str, ...]

    def show(self, stored: np.ndarray, layout: Layout) -> tuple[np.ndarray, tuple[str, ...]]:
        """Stored values, (rows, columns), as float32 in [0, 1], and what was applied.

        The first way that keeps the picture is taken, at last the range of the frame's own values.
        """
        image = self._is_image(stored)
        values = stored if image is None else stored[image]
        said = list(self.said)
        for way in self.ways:
            picture = self._picture(stored, layout, way.map)
            spread = _spread(picture if image is None else picture[image])
            if spread >= LEAST_SPREAD or not _lost(spread, values, layout):
                break
            said.append(f"{WARNING}{way.phrase}: left out, it leaves {share(spread)}")
        else:
            way, spread = self._own_range(values), 1.0
            picture = self._picture(stored, layout, way.map)
        said.append(way.phrase)
        said += ["greys: inverted, MONOCHROME1"] * self.inverted
        said += ["padding: black"] * (self.padding is not None)
        if spread < LEAST_SPREAD:
            said.append(f"{WARNING}picture: {share(spread)}")
        return picture, tuple(said)

    def _is_image(self, stored: np.ndarray) -> np.ndarray | None:
        if self.padding is None:
            return None
        low, high = self.padding
        return (stored < low) | (stored > high)

    def _own_range(self, values: np.ndarray) -> Way:
        there = self.modality(values.astype(np.float64))
        there = there[np.isfinite(there)]
        low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
        return Way(
            _line(low, high if high > low else low + 1.0),
            f"scaled: {low:g} to {high:g}, the frame's own values",
        )

    def _picture(self, stored: np.ndarray, layout: Layout, voi: _Map) -> np.ndarray:
        """Integers of up to 16 bits go through a table of all of them: as exact, and faster."""
        if layout.real or layout.stored > 16:
            return self._map(stored, voi)
        table = self._map(np.arange(layout.lowest, layout.highest + 1), voi)
        grey: np.ndarray = table.take(stored.astype(np.int32) - layout.lowest, mode="clip")
        return grey

    def _map(self, stored: np.ndarray, voi: _Map) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # ends of the range, or no number
            values = voi(self.modality(stored.astype(np.float64)))
            grey = np.nan_to_num(np.clip(values, 0.0, 1.0))
        if self.inverted:
            grey = 1.0 - grey
        if (image := self._is_image(stored)) is not None:
            grey[~image] = 0.0
        result: np.ndarray = grey.astype(np.float32)
        return result


def _spread(values: np.ndarray) -> float:
    """Greatest less least; 0 of nothing."""
    return float(values.max()) - float(values.min()) if values.size else 0.0


def _lost(spread: float, values: np.ndarray, layout: Layout) -> bool:
    """Whether a picture of little spread has less of it than its stored values."""
    there = _spread(values[np.isfinite(values)] if layout.real else values)
    whole = layout.highest - layout.lowest
    return there > 0 and (not spread or layout.real or there >= LEAST_SPREAD * whole)


def read_greys(elements: Elements, layout: Layout, groups: FunctionalGroups) -> Greys:
    """What a header says of one frame's greys.

    Args:
        elements: those of `GREY_KEYWORDS`.
        layout: of the pixels.
        groups: of the frame.

    Raises:
        ElementError: a modality table or number that is damaged, or values without any range.
    """
    modality, low, high, phrases, hounsfield = _modality(elements, layout, groups)
    ways, warnings = _voi(groups, signed=low < 0)
    if not (layout.real or layout.stored > 16):
        if hounsfield:
            ways.append(Way(_line(*CT_RANGE_HU), "scaled: {:g} to {:g} HU".format(*CT_RANGE_HU)))
        else:
            phrase = f"scaled: {low:g} to {high:g}, all that is stored"
            ways.append(Way(_line(low, high), phrase))
    elif not ways:
        raise ElementError(
            "WindowWidth: expected a window for floating-point or 32-bit values, got none",
            "give the file a window, or convert it to 16 bits",
        )
    inverted = layout.photometric == "MONOCHROME1"
    said = (*phrases, *warnings)
    return Greys(modality, tuple(ways), inverted, _padding(elements, layout), said)


def _modality(
    elements: Elements, layout: Layout, groups: FunctionalGroups
) -> tuple[_Map, float, float, list[str], bool]:
    """The map, its range over the stored bits, what to say, and whether its unit is HU."""
    low, high = float(layout.lowest), float(layout.highest)
    item = elements.item("ModalityLUTSequence")
    if item is not None and _is_projection(elements):
        phrase = f"{WARNING}modality: lookup table of an X-ray projection left out, not for display"
        return (lambda x: x), low, high, [phrase], False
    if item is not None:
        table = grey_table(item, signed=layout.signed)
        top = float((1 << table.bits) - 1)
        return (lambda x: table(x) * top), 0.0, top, ["modality: lookup table"], False
    source = groups.source("PixelValueTransformationSequence")
    slope, intercept = source.number("RescaleSlope"), source.number("RescaleIntercept")
    if slope is None and intercept is None:
        return (lambda x: x), low, high, [], False
    scale, shift = 1.0 if slope is None else slope, intercept or 0.0
    if not (np.isfinite(scale) and np.isfinite(shift) and scale):
        raise ElementError(
            "RescaleSlope, RescaleIntercept: expected finite numbers and a slope other than 0, "
            f"got {scale:g}, {shift:g}"
        )
    ends = sorted((low * scale + shift, high * scale + shift))
    unit = source.label("RescaleType") or "HU"
    hounsfield = elements.label("Modality") == "CT" and unit == "HU"
    phrases = [f"modality: slope {scale:g}, intercept {shift:g}"]
    return (lambda x: x * scale + shift), ends[0], ends[1], phrases, hounsfield


def _voi(groups: FunctionalGroups, *, signed: bool) -> tuple[list[Way], list[str]]:
    """The VOI tables, then the windows, and what is wrong with others."""
    source = groups.source("FrameVOILUTSequence")
    ways, warnings = [], []
    try:
        count = source.count("VOILUTSequence")
        for number in range(min(count, MAX_TABLES)):
            if item := source.item("VOILUTSequence", number):
                ways.append(_table(item, signed, number, count))
    except ElementError:
        warnings.append(f"{WARNING}window: lookup table ignored, it cannot be read")
    try:
        numbers = [source.numbers(keyword) for keyword in ("WindowCenter", "WindowWidth")]
        function = source.label("VOILUTFunction") or "LINEAR"
    except ElementError:
        return ways, [*warnings, f"{WARNING}window: ignored, its numbers cannot be read"]
    pairs = list(zip(*numbers, strict=False))
    for number, (centre, width) in enumerate(pairs):
        window = Window.of(centre, width, function)
        place = _place(number, len(pairs))
        said = f"window: centre {centre:g}, width {width:g}, {window.function}{place}"
        if problem := window.problem():
            warnings.append(f"{WARNING}{said}: ignored, {problem}")
        else:
            ways.append(Way(window, said))
    return ways, warnings


def _table(item: Elements, signed: bool, number: int, count: int) -> Way:
    table = grey_table(item, signed=signed)
    bits = "" if table.bits == table.declared else f", {table.bits} bits, not {table.declared}"
    return Way(table, f"window: lookup table{_place(number, count)}{bits}")


def _place(number: int, count: int) -> str:
    order = ("first", "second", "third")[number] if number < 3 else f"{number + 1}th"
    return f", the {order} of {count}" if count > 1 else ""


def _is_projection(elements: Elements) -> bool:
    """Whether a modality table leads to what the detector took in, PS3.3 section C.8.7.1.1.2."""
    by_class = elements.label("SOPClassUID") in _PROJECTION_CLASSES
    return by_class or elements.label("Modality") in _PROJECTIONS


@dataclass(frozen=True)
class Window:
    """A window onto modality values, PS3.3 section C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    @classmethod
    def of(cls, centre: float, width: float, function: str) -> Window:
        """With the function that is meant: in any spelling, LINEAR where nobody knows it.

        Widths below 1, which LINEAR cannot have, stand on scaled values and mean LINEAR_EXACT.
        """
        name = function.upper().replace(" ", "_").replace("-", "_")
        if name not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            name = "LINEAR"
        return cls(centre, width, "LINEAR_EXACT" if name == "LINEAR" and width < 1 else name)

    def problem(self) -> str | None:
        """Why it cannot be used, if so."""
        if not (np.isfinite(self.centre) and np.isfinite(self.width)):
            return "no finite numbers"
        return None if self.width > 0 else "width too small"

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
