"""A file becomes pixels: PNG, JPEG, TIFF, NIfTI and DICOM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.images.dicom.codecs import missing_codecs
    from medlego.images.dicom.elements import ElementError
    from medlego.images.dicom.header import Header, read_header
    from medlego.images.dicom.identity import read_identity
    from medlego.images.dicom.parsing import parsed
    from medlego.images.dicom.silence import nothing_said
    from medlego.images.dicom.sniffing import is_dicom
    from medlego.images.dicom.walking import find_dicom, visible_files
    from medlego.images.image import Image, fit, from_array, letterbox
    from medlego.images.in_memory import ImageLike, as_image
    from medlego.images.mending import by_subject, warning_notes, warnings_of
    from medlego.images.reading import MAX_PIXELS, image_files, is_image, read_image
    from medlego.images.volumes import is_voxels

__all__ = [
    "MAX_PIXELS",
    "ElementError",
    "Header",
    "Image",
    "ImageLike",
    "as_image",
    "by_subject",
    "find_dicom",
    "fit",
    "from_array",
    "image_files",
    "is_dicom",
    "is_image",
    "is_voxels",
    "letterbox",
    "missing_codecs",
    "nothing_said",
    "parsed",
    "read_header",
    "read_identity",
    "read_image",
    "visible_files",
    "warning_notes",
    "warnings_of",
]

load_lazily(__name__)
