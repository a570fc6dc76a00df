"""What Python programs hold of an image, as an `Image`: arrays, tensors and Pillow's pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from medlego.errors import ImageError
from medlego.images.image import Image
from medlego.images.reading import decode_picture

ImageLike = Image | Pillow.Image | np.ndarray | torch.Tensor
"""One image in memory, see `as_image`."""

_TOPS = {"uint8": 255, "uint16": 65535, "bool": 1}
"""What an array's largest value stands for, by its type."""


def as_image(value: ImageLike, name: str = "image") -> Image:
    """One image in memory as pixels in [0, 1].

    Args:
        value: an `Image`; a Pillow picture; or an array or tensor, (height, width) or with 1 or 3
            channels, last or first, of uint8, uint16, truth values, or floats in [0, 1].
            Values of 16 bits are scaled by 1/65535, as those of files are.
        name: what errors begin with.

    Raises:
        ImageError: anything else, or values that are not finite or outside [0, 1].
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, Pillow.Image):
        try:
            return decode_picture(value)
        except Exception as error:  # Pillow lets struct, key and other errors through
            raise ImageError(f"{name}: expected a whole picture, got another ({error})") from error
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if not isinstance(value, np.ndarray):
        raise ImageError(
            f"{name}: expected an array, a tensor or a Pillow picture, got {type(value).__name__}"
        )
    array = _channels_last(value, name)
    kind = array.dtype.name
    if (top := _TOPS.get(kind)) is not None:
        bits = "" if top == 1 else f"scaled: {array.dtype.itemsize * 8} bit by 1/{top}"
        return Image.of(array.astype(np.float32) / np.float32(top), (bits,) if bits else ())
    if array.dtype.kind != "f":
        raise ImageError(
            f"{name}: expected uint8, uint16 or floats in [0, 1], got {kind}; "
            "convert it so that 0 is black"
        )
    low, high = float(array.min()), float(array.max())
    if not 0.0 <= low <= high <= 1.0:
        raise ImageError(
            f"{name}: expected floats in [0, 1], got {low:.4g} to {high:.4g}; scale them by the "
            "range that they can have, and leave normalisation to the base"
        )
    return Image.of(array.astype(np.float32))


def _channels_last(array: np.ndarray, name: str) -> np.ndarray[Any, Any]:
    """(height, width) or (height, width, 3)."""
    first, last = (array.ndim == 3 and array.shape[axis] in (1, 3) for axis in (0, 2))
    if not array.size or not (array.ndim == 2 or first or last):
        raise ImageError(
            f"{name}: expected (height, width) or 1 or 3 channels, last or first, got "
            f"{array.shape}; several images go in a list"
        )
    if first and last:
        raise ImageError(
            f"{name}: expected channels on one side, got {array.shape}, which reads both ways"
        )
    if first:
        array = np.moveaxis(array, 0, 2)
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
