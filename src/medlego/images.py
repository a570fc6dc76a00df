"""Image files to float32 pixels, with a record of what was applied to them.

Reads PNG (8 and 16 bit), JPEG and TIFF. Values are scaled by the type's range, never by the
image's own minimum and maximum, so that equal pixels stay equal across images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from medlego.errors import ImageError

MAX_PIXELS = 80_000_000
"""Largest width × height that is decoded; larger files are refused before decoding."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "TIFF")


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels as read, with the steps that led to them.

    `pixels` is (channels, height, width) float32 in [0, 1], with 1 (grey) or 3 (RGB) channels.
    """

    pixels: Tensor
    applied: tuple[str, ...] = ()


def read_image(path: str | Path) -> Image:
    """Read one image file.

    Args:
        path: a PNG, JPEG or TIFF file; of a multi-page TIFF the first page.

    Returns:
        The image, (1 or 3, height, width) float32 in [0, 1].

    Raises:
        ImageError: missing, not an image, truncated, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    try:
        with Pillow.open(path, formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width} × {height}; "
                    "shrink it first"
                )
            return _decode(picture)
    except FileNotFoundError:
        raise ImageError(f"{path}: expected an image file, found nothing there") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image file, got a folder") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: expected a PNG, JPEG or TIFF image, got something else; convert it first"
        ) from None
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        raise ImageError(
            f"{path}: expected at most {MAX_PIXELS:,} pixels, got more; shrink it first"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(
            f"{path}: expected a whole image, got one that cannot be decoded ({error}); "
            "fetch it again"
        ) from error


def from_array(array: np.ndarray) -> Image:
    """Wrap one uint8 array, (height, width) or (height, width, 3), as an image.

    Raises:
        ImageError: another shape or type.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise ImageError(
            f"array: expected uint8 (h, w) or (h, w, 3), got {array.dtype} {array.shape}"
        )
    pixels = torch.from_numpy(array.astype(np.float32) / np.float32(255.0))
    return Image(pixels[None] if array.ndim == 2 else pixels.permute(2, 0, 1).contiguous())


@dataclass(frozen=True)
class Box:
    """A rectangle of a square network input, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def letterbox(height: int, width: int, size: int) -> Box:
    """Where `fit` puts an image of height × width pixels in an input of size × size."""
    longest = max(height, width)
    rows, columns = max(1, round(height * size / longest)), max(1, round(width * size / longest))
    return Box((size - rows) // 2, (size - columns) // 2, rows, columns)


def fit(image: Image, size: int) -> Tensor:
    """Scale an image to a square network input without cutting anything off.

    The longer side becomes `size` (bicubic, antialiased), the shorter side is centred on
    black; grey is repeated to three channels.

    Returns:
        (3, size, size) float32 in [0, 1].
    """
    pixels = image.pixels
    box = letterbox(pixels.shape[1], pixels.shape[2], size)
    if (box.height, box.width) != pixels.shape[1:]:
        pixels = F.interpolate(
            pixels[None],
            (box.height, box.width),
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )[0].clamp_(0.0, 1.0)
    if (box.height, box.width) != (size, size):
        right, bottom = size - box.width - box.left, size - box.height - box.top
        pixels = F.pad(pixels, (box.left, right, box.top, bottom))
    return pixels.expand(3, size, size)


def _decode(picture: Pillow.Image) -> Image:
    applied = []
    if picture.getexif().get(0x0112, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
        applied.append("orientation: turned as EXIF says")
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"pixels of mode {picture.mode} outside 0 to 65535")
        applied.append("scaled: 16 bit by 1/65535")
        pixels = torch.from_numpy(values.astype(np.float32) / np.float32(65535.0))
        return Image(pixels[None].contiguous(), tuple(applied))
    if picture.mode in ("L", "1"):
        grey = from_array(np.asarray(picture.convert("L")))
        return Image(grey.pixels, (*applied, "scaled: 8 bit by 1/255"))
    if picture.mode != "RGB":
        applied.append(f"colour: {picture.mode} to {'grey' if picture.mode == 'LA' else 'RGB'}")
    target = "L" if picture.mode == "LA" else "RGB"
    picture.info.pop("transparency", None)  # dropped anyway; Pillow would warn of a palette's
    colour = from_array(np.asarray(picture.convert(target)))
    return Image(colour.pixels, (*applied, "scaled: 8 bit by 1/255"))
