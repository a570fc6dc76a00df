"""What a file is by its first bytes: DICOM with or without preamble, or not."""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom.datadict import dictionary_has_tag
from pydicom.valuerep import VR

HEAD_BYTES = 132
"""Bytes from the start of a file that decide."""

_PREFIX = slice(128, 132)
_VRS = frozenset(vr.encode() for vr in VR)
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_GROUP_LENGTH = 0
_LONGEST_FIRST = 1 << 16
_PROGRAMS = {
    b"MZ": "a Windows program",
    b"\x7fELF": "a Linux program",
    b"#!": "a script",
    b"\xcf\xfa\xed\xfe": "a macOS program",
    b"\xce\xfa\xed\xfe": "a macOS program",
    b"\xca\xfe\xba\xbe": "a macOS or Java program",
}


def is_dicom(path: Path) -> bool:
    """Whether a file holds DICOM, whatever its name; false where it cannot be opened."""
    try:
        with path.open("rb") as stream:
            return has_prefix(head := stream.read(HEAD_BYTES)) or starts_bare(head)
    except OSError:
        return False


def has_prefix(head: bytes) -> bool:
    """Whether a preamble and DICM come first, PS3.10 section 7.1."""
    return head[_PREFIX] == b"DICM"


def starts_bare(head: bytes) -> bool:
    """Whether a data set starts at once, as early and sloppy writers left it.

    A known element of group 0002 or 0008 must come first, with a VR, or in implicit VR with a
    length that such an element could have.
    """
    if len(head) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHL", head[:8])
        if group in _FIRST_GROUPS and element == _GROUP_LENGTH:
            return head[4:6] == b"UL" or length == 4
        if group in _FIRST_GROUPS and dictionary_has_tag(group << 16 | element):
            plausible = 0 < length <= _LONGEST_FIRST and length % 2 == 0
            return head[4:6] in _VRS or (order == "<" and plausible)
    return False


def program_in_preamble(head: bytes) -> str | None:
    """What kind of program the preamble would start, if a file is one as well as DICOM."""
    for magic, kind in _PROGRAMS.items():
        if has_prefix(head) and head.startswith(magic):
            return kind
    return None
