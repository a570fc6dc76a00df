"""How a DICOM file's pixels are laid out, checked before anything is allocated for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medlego.errors import ImageError, raise_all
from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.mending import WARNING

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
JPEG2000_COLOUR = frozenset({"YBR_ICT", "YBR_RCT"})
"""What JPEG 2000 turns to RGB as it decodes."""
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422"}) | JPEG2000_COLOUR

LAYOUT_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_INTEGER_BITS = (1, 8, 16, 32)


@dataclass(frozen=True)
class Layout:
    """The Image Pixel module of PS3.3 section C.7.6.3, complete and consistent.

    `real` pixels are floating point; then `stored` and `signed` say nothing. Values stand `shift`
    bits above the lowest. `warnings` say what was mended.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    signed: bool
    real: bool
    shift: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Rows × columns."""
        return self.rows * self.columns

    @property
    def frame_bits(self) -> int:
        """What one frame takes without compression."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.pixels * samples * self.allocated

    @property
    def lowest(self) -> int:
        """Smallest value that the stored bits can say."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest value that the stored bits can say."""
        return (1 << (self.stored - self.signed)) - 1


def read_layout(path: Path, elements: Elements, *, real: bool, max_pixels: int) -> Layout:
    """Check what a header says of its pixels.

    Args:
        path: for messages.
        elements: those of `LAYOUT_KEYWORDS`.
        real: whether the pixel element holds floating point.
        max_pixels: largest rows × columns that is accepted.

    Raises:
        ImageError: missing, contradictory or out of range; all problems together.
    """
    problems: list[str] = []

    def get(keyword: str, default: int | None, fits: Callable[[int], bool], rule: str) -> int:
        try:
            value = elements.integer(keyword)
        except ElementError as error:
            problems.append(str(error))
            return 1
        value = default if value is None else value
        if value is None or not fits(value):
            got = "nothing" if value is None else value
            problems.append(
                f"{keyword}: expected {rule}, got {got}; correct the header with dcmodify"
            )
            return 1
        return value

    side = (lambda value: 1 <= value <= 65535, "1 to 65535")
    rows, columns = get("Rows", None, *side), get("Columns", None, *side)
    frames, unread = _frames(elements)
    samples = get("SamplesPerPixel", 1, lambda value: value in (1, 3), "1 or 3")
    planar = 0
    if samples > 1:
        planar = get("PlanarConfiguration", 0, lambda value: value in (0, 1), "0 or 1")
    widths = (32, 64) if real else _INTEGER_BITS
    allocated = get(
        "BitsAllocated", 32 if real else None, widths.__contains__, f"one of {str(widths)[1:-1]}"
    )
    stored = get("BitsStored", allocated, lambda n: 1 <= n <= allocated, f"1 to {allocated}")
    shift, warnings = _shift(elements, allocated, stored)
    signed = get("PixelRepresentation", 0, lambda value: value in (0, 1), "0 or 1")
    if samples == 3 and signed == 1:
        signed, said = 0, "colour: unsigned, though PixelRepresentation says signed"
        warnings = (*warnings, f"{WARNING}{said}")
    photometric = _photometric(elements, samples, problems)
    if samples == 3 and (real or allocated == 1):
        got = "floating point" if real else "1"
        problems.append(f"BitsAllocated: expected 8 to 32 for colours, got {got}; store 8 bits")
    if rows * columns > max_pixels:
        problems.append(
            f"Rows × Columns: expected at most {max_pixels:,} pixels, got {rows} × {columns}; "
            "shrink the image first"
        )
    raise_all(ImageError, str(path), problems)
    return Layout(
        rows,
        columns,
        frames,
        samples,
        photometric,
        planar,
        allocated,
        stored,
        bool(signed),
        real,
        shift,
        (*unread, *warnings),
    )


def _frames(elements: Elements) -> tuple[int, tuple[str, ...]]:
    """How many there are, 0 where only the pixels can say."""
    try:
        frames = elements.integer("NumberOfFrames")
    except ElementError:
        frames = -1
    if frames is None or frames >= 0:
        return frames or 1, ()
    return 0, (f"{WARNING}frames: counted, since NumberOfFrames cannot be read",)


def _shift(elements: Elements, allocated: int, stored: int) -> tuple[int, tuple[str, ...]]:
    """By how many bits values stand above the lowest: 0 unless HighBit says so and may."""
    try:
        high = elements.integer("HighBit")
    except ElementError:
        high = -1
    if high is None or high == stored - 1:
        return 0, ()
    if stored <= high < allocated:
        return high - stored + 1, (f"bits: {stored}, from bit {high} down, as HighBit says",)
    return 0, (f"{WARNING}bits: {stored}, from bit {stored - 1} down, not as HighBit says",)


def _photometric(elements: Elements, samples: int, problems: list[str]) -> str:
    try:
        name = elements.text("PhotometricInterpretation") or ""
    except ElementError as error:
        problems.append(str(error))
        return ""
    allowed = COLOUR if samples == 3 else GREY | {PALETTE}
    if name not in allowed:
        rule = f"one of {', '.join(sorted(allowed))} for SamplesPerPixel {samples}"
        known = name if name.replace("_", "").replace(" ", "").isalnum() else "something else"
        got = known[:16] if name else "nothing"
        problems.append(
            f"PhotometricInterpretation: expected {rule}, got {got}; correct it, or convert to RGB"
        )
    return name
