"""Pictures for the page, as data that a page can hold; none is written anywhere."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image as Pillow

from medlego.images import Image
from medlego.prediction import Saliency, layer

VIEW_SIZE = 640
"""Pixels a side of a picture, framed as the model sees the image."""


def view(image: Image) -> str:
    """A PNG of an image that was read at `VIEW_SIZE`, as a data URI."""
    pixels = image.pixels * 255
    return _uri(pixels.round().byte().permute(1, 2, 0).numpy())


def overlay_layer(saliency: Saliency) -> str:
    """A PNG of a map's colours alone, clear where there is little, as a data URI."""
    return _uri(layer(saliency))


def _uri(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
