"""Image files to float32 pixels, with a record of what was applied to them.

Reads PNG (8 and 16 bit), JPEG, TIFF, DICOM and NIfTI, whatever a file's name. Values are scaled
by the type's range or the file's own window, never by the image's minimum and maximum, so that
equal pixels stay equal across images (NIfTI, which often says neither, by its whole volume).
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
from medlego.images.dicom import is_dicom, read_frame
from medlego.images.nifti import is_nifti, read_slice
from medlego.support import ShortRepr

MAX_PIXELS = 80_000_000
"""Largest width × height that is decoded; larger files are refused before decoding."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".nii"})
"""Names that promise an image; DICOM files need none of them, see `is_image`."""

_HEAD_BYTES = 4096
_UNEQUAL = 0.01
"""Spacings that differ by less than this share are taken as equal."""

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""TIFF 6.0's tag of what values mean, and the value of inverted greys."""

_FORMATS = ("PNG", "JPEG", "TIFF")


@dataclass(frozen=True, eq=False, repr=False)
class Image(ShortRepr):
    """Pixels as read, with the steps that led to them.

    `pixels` is (channels, height, width) float32 in [0, 1], with 1 (grey) or 3 (RGB) channels.
    `applied` never holds patient data. `spacing_mm` is the distance of rows and of columns, None
    where it is unknown.
    """

    pixels: Tensor
    applied: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] | None = None

    @property
    def aspect(self) -> float:
        """A pixel's height over its width; 1 where that is unknown or almost so."""
        tall, wide = self.spacing_mm or (1.0, 1.0)
        return tall / wide if abs(tall / wide - 1.0) > _UNEQUAL else 1.0


def read_image(
    path: str | Path, frame: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read one image file, known by its content.

    Args:
        path: a PNG, JPEG, TIFF, DICOM or NIfTI file.
        frame: which of several, from 0: a DICOM file's frames, a TIFF's pages, a NIfTI volume's
            slices. Left out, the middle frame or slice, and a TIFF's first page.
        max_pixels: largest width × height that is decoded.

    Returns:
        The image, (1 or 3, height, width) float32 in [0, 1].

    Raises:
        ImageError: missing, not an image, damaged, too large, without that frame, or
            compressed in a way for which no codec is installed.
    """
    path = Path(path)
    if is_dicom(path):
        shown = read_frame(path, frame, max_pixels=max_pixels)
        return Image(_channels_first(shown.array), shown.applied, shown.spacing_mm)
    if _starts_as_nifti(path):
        cut = read_slice(path, frame, max_pixels=max_pixels)
        return Image(_channels_first(cut.array), cut.applied, cut.spacing_mm)
    return _read_picture(path, frame or 0, max_pixels)


def is_image(path: Path) -> bool:
    """Whether a file promises to be an image by its name, or is DICOM whatever its name."""
    name = path.name.lower()
    return path.suffix.lower() in SUFFIXES or name.endswith(".nii.gz") or is_dicom(path)


def _starts_as_nifti(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return is_nifti(stream.read(_HEAD_BYTES))
    except OSError:
        return False


def _channels_first(array: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(array)
    return pixels[None] if array.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _read_picture(path: Path, page: int, max_pixels: int) -> Image:
    try:
        with Pillow.open(path, formats=_FORMATS) as picture:
            _check_size(picture, path, max_pixels)
            _turn_to(picture, page, path)
            _check_size(picture, path, max_pixels)
            return _decode(picture)
    except FileNotFoundError:
        raise ImageError(f"{path}: expected an image file, found nothing there") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image file, got a folder") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: expected a PNG, JPEG, TIFF, DICOM or NIfTI image, got something else; "
            "convert it first"
        ) from None
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        raise ImageError(
            f"{path}: expected at most {max_pixels:,} pixels, got more; shrink it first"
        ) from None
    except (OSError, SyntaxError, TypeError, ValueError, EOFError) as error:
        raise ImageError(
            f"{path}: expected a whole image, got one that cannot be decoded ({error}); "
            "fetch it again"
        ) from error


def _starts_white(picture: Pillow.Image) -> bool:
    """Whether a TIFF's zero is white, which Pillow undoes for up to 8 bits alone."""
    tags = getattr(picture, "tag_v2", {})
    return tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _check_size(picture: Pillow.Image, path: Path, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: expected at most {max_pixels:,} pixels, got {width} × {height}; "
            "shrink it first"
        )


def _turn_to(picture: Pillow.Image, page: int, path: Path) -> None:
    if page == 0:  # other pages of a damaged file stay unread
        return
    pages = getattr(picture, "n_frames", 1)
    if not 0 <= page < pages:
        raise ImageError(
            f"{path}: expected a frame from 0 to {pages - 1}, got {page}; choose one of these"
        )
    picture.seek(page)


def from_array(array: np.ndarray) -> Image:
    """Wrap one uint8 array, (height, width) or (height, width, 3), as an image.

    Raises:
        ImageError: another shape or type.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise ImageError(
            f"array: expected uint8 (h, w) or (h, w, 3), got {array.dtype} {array.shape}"
        )
    return Image(_channels_first(array.astype(np.float32) / np.float32(255.0)))


@dataclass(frozen=True)
class Box:
    """A rectangle of a square network input, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def letterbox(height: int, width: int, size: int, aspect: float = 1.0) -> Box:
    """Where `fit` puts an image of height × width pixels in an input of size × size.

    `aspect` is a pixel's height over its width.
    """
    tall = height * aspect
    longest = max(tall, width)
    rows, columns = max(1, round(tall * size / longest)), max(1, round(width * size / longest))
    return Box((size - rows) // 2, (size - columns) // 2, rows, columns)


def fit(image: Image, size: int) -> Tensor:
    """Scale an image to a square network input without cutting anything off.

    The longer side becomes `size` (bicubic, antialiased), the shorter side is centred on
    black; grey is repeated to three channels. Sides are compared in millimetres where rows and
    columns are unequally spaced, so that anatomy keeps its proportions.

    Returns:
        (3, size, size) float32 in [0, 1].
    """
    pixels = image.pixels
    _, height, width = pixels.shape
    box = letterbox(height, width, size, image.aspect)
    if (box.height, box.width) != (height, width):
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
    starts_white = _starts_white(picture)  # turning drops the tag
    if picture.getexif().get(0x0112, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
        applied.append("orientation: turned as EXIF says")
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"pixels of mode {picture.mode} outside 0 to 65535")
        applied.append("scaled: 16 bit by 1/65535")
        pixels = torch.from_numpy(values.astype(np.float32) / np.float32(65535.0))
        if starts_white:
            applied.append("greys: inverted, WhiteIsZero")
            pixels = 1.0 - pixels
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
