"""DICOM files: found, described without their pixels, and read."""

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.images.dicom.header import Header, read_header
    from medlego.images.dicom.identity import read_identity
    from medlego.images.dicom.reading import read_frame
    from medlego.images.dicom.sniffing import is_dicom
    from medlego.images.dicom.walking import find_dicom

__all__ = ["Header", "find_dicom", "is_dicom", "read_frame", "read_header", "read_identity"]

load_lazily(__name__)
