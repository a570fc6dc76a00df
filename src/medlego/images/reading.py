"""Image files to float32 pixels, with a record of what was applied to them.

Reads PNG, JPEG, JPEG 2000, TIFF, BMP, PGM, DICOM and NIfTI, whatever a file's name. Values are
scaled by the type's range or the file's own window, and not by the image's minimum and maximum, so
that equal pixels stay equal across images. NIfTI, which often says neither, is scaled by its whole
volume, and a DICOM frame of which its window leaves nothing is said to be mended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medlego.errors import ImageError
from medlego.images.dicom import is_dicom, read_frame
from medlego.images.dicom.walking import visible_files
from medlego.images.image import Image, from_array
from medlego.images.mending import WARNING
from medlego.images.nifti import read_slice
from medlego.images.packed_tiff import packed_bits, read_tags, unpack
from medlego.images.volumes import check_header, find_volume, is_header

MAX_PIXELS = 80_000_000
"""Largest width × height that is decoded; larger files are refused before decoding."""

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm"),
        *(".dcm", ".dicom", ".nii"),
    }
)
"""Names that promise an image; DICOM files need none of them, see `is_image`."""

_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""TIFF 6.0's tags of bits a sample and of what values mean, and the value of inverted greys."""

_FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "PPM")
KINDS = "a PNG, JPEG, JPEG 2000, TIFF, BMP, PGM, DICOM or NIfTI image"


def read_image(
    path: str | Path,
    frame: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    any_object: bool = False,
) -> Image:
    """Read one image file, known by its content.

    Args:
        path: a PNG, JPEG, TIFF, DICOM or NIfTI file, or either of an Analyze or NIfTI pair.
        frame: which of several, from 0: a DICOM file's frames, a TIFF's pages, a NIfTI volume's
            slices. Left out, the middle frame or slice, and a TIFF's first page.
        max_pixels: largest width × height that is decoded.
        any_object: read DICOM objects that are no images of a patient too.

    Returns:
        The image, (1 or 3, height, width) float32 in [0, 1].

    Raises:
        NoPatientImageError: a DICOM segmentation, dose map, localizer, screen save, report, …
        ImageError: missing, not an image, damaged, too large, without that frame, or
            compressed in a way for which no codec is installed.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ImageError(f"{path}: expected an image file, got a device or pipe")
    if is_dicom(path):
        return read_frame(path, frame, max_pixels=max_pixels, any_object=any_object)
    if volume := find_volume(path):
        return read_slice(volume, frame, max_pixels=max_pixels)
    return _read_picture(path, frame or 0, max_pixels)


def is_image(path: Path) -> bool:
    """Whether a file promises to be an image by its name, or is DICOM whatever its name.

    Of a volume in two files the header is the image.
    """
    named = path.suffix.lower() in SUFFIXES or path.name.lower().endswith(".nii.gz")
    return named or is_header(path) or is_dicom(path)


def image_files(folder: Path) -> list[Path]:
    """Every image file below a folder, in a fixed order; names that begin with a dot are not."""
    return sorted(path for path in visible_files(folder) if is_image(path))


def _read_picture(path: Path, page: int, max_pixels: int) -> Image:
    try:
        with Pillow.open(path, formats=_FORMATS) as picture:
            _check_size(picture, path, max_pixels)
            _turn_to(picture, page, path)
            _check_size(picture, path, max_pixels)
            return decode_picture(picture)
    except FileNotFoundError:
        raise ImageError(f"{path}: expected an image file, found nothing there") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image file, got a folder") from None
    except UnidentifiedImageError:
        if (tags := read_tags(path)) and (bits := packed_bits(tags)):
            return _greys(unpack(path, tags, bits, max_pixels), bits, _starts_white(tags), [])
        check_header(path)
        raise ImageError(
            f"{path}: expected {KINDS}, got something else; leave it out, or convert it to PNG"
        ) from None
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        raise ImageError(
            f"{path}: expected at most {max_pixels:,} pixels, got more; shrink it first"
        ) from None
    except ImageError:
        raise
    except Exception as error:  # Pillow lets struct, key and other errors through
        raise ImageError(
            f"{path}: expected a whole image, got one that cannot be decoded ({error}); "
            "fetch it again, or convert it to PNG"
        ) from error


def _starts_white(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF's zero is white, which Pillow undoes for up to 8 bits alone."""
    return bool(tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _greys(values: np.ndarray, bits: int, starts_white: bool, applied: list[str]) -> Image:
    top = (1 << bits) - 1
    applied.append(f"scaled: {bits} bit by 1/{top}")
    grey = values.astype(np.float32) / np.float32(top)
    if starts_white:
        applied.append("greys: inverted, WhiteIsZero")
        grey = 1 - grey
    return Image.of(grey, tuple(applied))


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


def decode_picture(picture: Pillow.Image) -> Image:
    """A picture that Pillow opened.

    Raises:
        ValueError: pixels outside 0 to 65535.
    """
    applied = []
    tags = getattr(picture, "tag_v2", {})  # turning drops them
    bits, starts_white = int(tags.get(_BITS, (16,))[0]), _starts_white(tags)
    if picture.getexif().get(0x0112, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
        applied.append("orientation: turned as EXIF says")
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"pixels of mode {picture.mode} outside 0 to 65535")
        return _greys(
            values, bits if picture.mode.startswith("I;16") else 16, starts_white, applied
        )
    target = "L" if picture.mode in ("L", "1", "LA") else "RGB"
    if picture.mode not in ("L", "1", "RGB"):
        applied.append(f"colour: {picture.mode} to {'grey' if target == 'L' else 'RGB'}")
    if "transparency" in picture.info:  # dropped anyway; Pillow would warn of a palette's
        picture = picture.copy()
        del picture.info["transparency"]
    applied.append("scaled: 8 bit by 1/255")
    array = np.asarray(picture.convert(target))
    if "A" in picture.getbands() and not np.ptp(array):
        applied.append(f"{WARNING}picture: one grey, since transparency is left out")
    return from_array(array, tuple(applied))
