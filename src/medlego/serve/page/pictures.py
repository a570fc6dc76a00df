"""Pictures for the page, as data URIs; none is written anywhere."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image as Pillow

from medlego.images import Image

VIEW_SIZE = 1024
"""Pixels a side of a picture, framed as the model sees the image; enough to zoom into."""


def is_grey(image: Image) -> bool:
    """Whether the three channels are one."""
    return bool((image.pixels == image.pixels[:1]).all())


def view(image: Image) -> str:
    """An image that was fitted to `VIEW_SIZE`."""
    pixels = (image.pixels * 255).round().byte().permute(1, 2, 0).numpy()
    return png_uri(pixels[..., 0] if is_grey(image) else pixels)


def png_uri(pixels: np.ndarray) -> str:
    """Pixels (height, width) or (height, width, 3 or 4), uint8, as a PNG."""
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
