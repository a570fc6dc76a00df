"""DICOM files: found, described without their pixels, and read."""

from medlego.dicom.finding import find_dicom
from medlego.dicom.header import Header, read_header
from medlego.dicom.reading import Frame, read_frame
from medlego.dicom.recognising import is_dicom

__all__ = ["Frame", "Header", "find_dicom", "is_dicom", "read_frame", "read_header"]
