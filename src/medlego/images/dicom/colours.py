"""Palettes: stored values to red, green and blue, alone or on top of greys."""

from __future__ import annotations

import numpy as np

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.dicom.layout import Layout
from medlego.images.dicom.tables import palette

PALETTE_KEYWORDS = (
    *(
        f"{kind}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
    "PixelPresentation",
)


def show_palette(stored: np.ndarray, elements: Elements, layout: Layout) -> np.ndarray:
    """Palette indices, (rows, columns), as RGB, (rows, columns, 3) float32 in [0, 1].

    Raises:
        ElementError: a palette that is missing or damaged.
    """
    if layout.stored > 16:
        raise ElementError("BitsStored: expected at most 16 for a palette, got more", "store RGB")
    tables = palette(elements, signed=layout.signed)
    possible = np.arange(layout.lowest, layout.highest + 1)
    colours = np.stack([table(possible) for table in tables], axis=1).astype(np.float32)
    colour: np.ndarray = colours.take(stored.astype(np.int32) - layout.lowest, axis=0, mode="clip")
    return colour


def has_supplement(elements: Elements) -> bool:
    """Whether a grey image has colours for its highest values, PS3.3 section C.7.6.19."""
    coloured = elements.text("PixelPresentation") in ("COLOR", "MIXED")
    return coloured and elements.raw("RedPaletteColorLookupTableDescriptor") is not None


def show_supplemented(
    stored: np.ndarray, greys: np.ndarray, elements: Elements, layout: Layout
) -> np.ndarray:
    """Shown greys with the palette's colours from its first entry on, (rows, columns, 3).

    Raises:
        ElementError: a palette that is damaged.
    """
    coloured = show_palette(stored, elements, layout)
    first = palette(elements, signed=layout.signed)[0].first
    return np.where((stored >= first)[..., None], coloured, greys[..., None])
