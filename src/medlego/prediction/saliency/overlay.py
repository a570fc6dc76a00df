"""A map laid over its image: the image in grey, evidence in colours safe for the colour-blind.

Orange is evidence for the label, blue against it (Okabe and Ito's vermilion and blue); both fade to
nothing where there is little, so that the grey image stays readable. A map without for and against
runs from its least, uncoloured, to its most.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from medlego.images import Image
from medlego.prediction.saliency.maps import Saliency
from medlego.support import write_atomically

FOR = np.array([213, 94, 0], dtype=np.float32)
AGAINST = np.array([0, 114, 178], dtype=np.float32)
OPACITY = 0.65
"""Of the colour where the map is strongest."""
SMALLEST_SIDE = 320
"""Pixels a side: smaller images are enlarged by a whole number, so that the legend fits."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def overlay(image: Image, saliency: Saliency) -> np.ndarray:
    """The image in grey under its map, (height, width, 3) uint8 at the image's own size.

    Opacity grows with the map's size, from none to `OPACITY` where it is strongest in this image:
    what two pictures show can be compared by place, not by strength.
    """
    return _painted(_strength(saliency), _grey(image)[..., None])


def layer(saliency: Saliency) -> np.ndarray:
    """The map's colours alone, (height, width, 4) uint8 at the image's size.

    Opacity is full where the map is strongest; over the grey image at `OPACITY` it is `overlay`.
    """
    strength = _strength(saliency)
    whole = np.concatenate([_colour(strength), 255 * np.abs(strength)], axis=2)
    result: np.ndarray = np.round(whole).astype(np.uint8)
    return result


def save_overlay(image: Image, saliency: Saliency, path: str | Path) -> None:
    """Write a PNG of `draw_overlay`; nothing else about the image."""
    stream = io.BytesIO()
    description = PngInfo()
    description.add_itxt("Description", f"{caption(saliency)}; {scale(saliency)}")
    draw_overlay(image, saliency).save(stream, "PNG", pnginfo=description)
    write_atomically(Path(path), stream.getvalue())


def draw_overlay(image: Image, saliency: Saliency, note: str = "") -> Pillow.Image:
    """The overlay at the image's size, a legend below that ends with the note.

    A side of less than `SMALLEST_SIDE` pixels makes the picture a whole number of times as large.
    """
    picture = Pillow.fromarray(overlay(image, saliency))
    times = -(-SMALLEST_SIDE // picture.width)
    if times > 1:
        size = (picture.width * times, picture.height * times)
        picture = picture.resize(size, Pillow.Resampling.NEAREST)
    legend = _legend(saliency, picture.width, note)
    whole = Pillow.new("RGB", (picture.width, picture.height + legend.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(legend, (0, picture.height))
    return whole


def caption(saliency: Saliency) -> str:
    """One line: the task, the label with its probability, the method."""
    return f"{saliency.task.name}: {saliency.label} {saliency.prob:.3f} · {saliency.method}"


def scale(saliency: Saliency) -> str:
    """What the colours stand for."""
    heat = saliency.on_image()
    if not saliency.signed:
        return (
            f"colour: from {float(heat.min()):.2%} to {float(heat.max()):.2%} of the attention "
            "a patch; the same for every label"
        )
    return f"full colour: {float(heat.abs().max()):.2g} log odds a patch; orange for, blue against"


def _strength(saliency: Saliency) -> np.ndarray:
    """(height, width, 1) in [-1, 1], or in [0, 1] for a map without for and against."""
    heat = saliency.on_image().numpy()
    values = heat if saliency.signed else heat - heat.min()
    strength: np.ndarray = values / max(float(np.abs(values).max()), np.finfo(np.float32).tiny)
    return strength[..., None]


def _colour(strength: np.ndarray) -> np.ndarray:
    """(…, 1) → (…, 3)."""
    return np.where(strength >= 0, FOR, AGAINST)


def _painted(strength: np.ndarray, grey: np.ndarray | float) -> np.ndarray:
    """A map's strength (…, 1) over grey in [0, 1] → (…, 3) uint8."""
    opacity = OPACITY * np.abs(strength)
    mixed = (1 - opacity) * 255 * grey + opacity * _colour(strength)
    result: np.ndarray = np.round(mixed).astype(np.uint8)
    return result


def _grey(image: Image) -> np.ndarray:
    """(height, width) in [0, 1]."""
    pixels = image.pixels.numpy()
    grey: np.ndarray = pixels[0] if len(pixels) == 1 else np.tensordot(_LUMA, pixels, axes=1)
    return grey.clip(0, 1)


def _legend(saliency: Saliency, width: int, note: str) -> Pillow.Image:
    """A bar from the strongest against to the strongest for, and lines of words."""
    size = max(12, width // 45)
    pad = size // 2
    lines = [
        part
        for text in filter(None, (caption(saliency), scale(saliency), note))
        for part in _wrapped(text, size, width - 2 * pad)
    ]
    line = size + pad
    strip = Pillow.new("RGB", (width, line * (len(lines) + 1) + pad), "white")
    strip.paste(_bar(saliency, width - 2 * pad, size), (pad, pad))
    draw = ImageDraw.Draw(strip)
    for number, text in enumerate(lines):
        draw.text((pad, line * (number + 1) + pad), text, "black", _font(size))
    return strip


def _bar(saliency: Saliency, width: int, height: int) -> Pillow.Image:
    """The colours over a middle grey, from the strongest against, or none, to the strongest for."""
    least = -1.0 if saliency.signed else 0.0
    strength = np.linspace(least, 1, max(2, width), dtype=np.float32)[None, :, None]
    return Pillow.fromarray(np.repeat(_painted(strength, 128 / 255), height, axis=0))


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Words in lines that are not wider than the picture; a word too long stands alone."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek and Cyrillic letters."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
