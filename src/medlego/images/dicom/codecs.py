"""Which codec decodes which transfer syntax, and what a codestream says of its own size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from medlego.errors import ImageError
from medlego.images.dicom.layout import Layout

NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)


@dataclass(frozen=True)
class Codec:
    """One of pydicom's plugins, the package that it needs, and the syntax that it is asked for."""

    plugin: str
    package: str
    syntax: str


_JPEG2000 = (
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
_PLUGINS = {
    ("pylibjpeg", "pylibjpeg-rle"): (uid.RLELossless,),
    ("pillow", "pillow"): (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit),
    ("gdcm", "python-gdcm"): (uid.JPEGLossless, uid.JPEGLosslessSV1),
    ("pyjpegls", "pyjpegls"): uid.JPEGLSTransferSyntaxes,
    ("pylibjpeg", "pylibjpeg-openjpeg"): _JPEG2000,
}
CODECS: dict[str, Codec] = {
    syntax: Codec(*names, syntax) for names, syntaxes in _PLUGINS.items() for syntax in syntaxes
}
"""Permissively licensed codecs only; one per syntax, so that equal files give equal pixels."""

_EXTENDED_12_BIT = Codec("gdcm", "python-gdcm", uid.JPEGLosslessSV1)
"""GDCM goes by the codestream and reads 12 bits; pydicom would not ask it to under their name."""


_END = b"\xff\xd9"


def codec_for(path: Path, syntax: uid.UID, layout: Layout) -> Codec:
    """The codec of a compressed transfer syntax.

    Raises:
        ImageError: none is known, or its package is not installed.
    """
    codec = CODECS.get(syntax)
    if syntax == uid.JPEGExtended12Bit and layout.stored > 8:
        codec = _EXTENDED_12_BIT
    if codec is None:
        name = syntax.name if syntax.is_transfer_syntax else "an unknown one"
        raise ImageError(
            f"{path}: expected a transfer syntax of still images that medlego decodes, got {name}; "
            "decompress it with gdcmconv --raw, or save a film's frames as images"
        )
    if codec.plugin not in get_decoder(codec.syntax).available_plugins:
        raise ImageError(
            f"{path}: expected the package {codec.package} to decode {syntax.name}, got none "
            "installed; pip install 'medlego[dicom]'"
        )
    return codec


def missing_codecs() -> dict[str, str | None]:
    """Per compressed transfer syntax, by its name, the package that it lacks; None for none."""
    return {
        uid.UID(syntax).name: None
        if codec.plugin in get_decoder(codec.syntax).available_plugins
        else codec.package
        for syntax, codec in CODECS.items()
    }


def check_codestream(path: Path, content: bytes, syntax: uid.UID, layout: Layout) -> int | None:
    """Refuse a codestream that would decode to another size than its header claims.

    Returns:
        Its own bits a sample; None where it does not say.

    Raises:
        ImageError: no codestream of that kind, or of another size.
    """
    if syntax == uid.RLELossless:
        segments = int.from_bytes(content[:4], "little")
        expected = layout.samples * layout.allocated // 8
        if len(content) < 64 or segments != expected:
            raise ImageError(
                f"{path}: expected an RLE frame of {expected} segments, got {segments} in "
                f"{len(content)} bytes; correct BitsAllocated, or fetch it again"
            )
        return None
    if syntax in uid.JPEGLSTransferSyntaxes and _END not in content[-10:]:
        raise ImageError(  # CharLS looks for the missing rest for many seconds
            f"{path}: expected a codestream that ends as {syntax.name} does, got one cut short; "
            "fetch it again"
        )
    actual = _jpeg2000_size(content) if syntax in _JPEG2000 else _jpeg_size(content)
    if actual is None:
        raise ImageError(
            f"{path}: expected a codestream as {syntax.name} says, got something else; "
            "correct the transfer syntax, or fetch it again"
        )
    size, claimed = actual[:3], (layout.rows, layout.columns, layout.samples)
    if size != claimed:
        raise ImageError(
            f"{path}: expected a codestream of {_said(*claimed)} as the header claims, got one "
            f"of {_said(*size)}; correct Rows and Columns, or fetch it again"
        )
    return actual[3]


def _said(rows: int, columns: int, samples: int) -> str:
    return f"{rows} × {columns} with {samples} sample{'s' if samples > 1 else ''}"


def _jpeg_size(content: bytes) -> tuple[int, int, int, int] | None:
    """Rows, columns, components and bits by the frame header, ITU-T T.81 section B.2.2."""
    at = content.find(b"\xff\xd8") + 2
    if at < 2:
        return None
    while at + 10 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            bits, rows, columns, components = struct.unpack(">BHHB", content[at + 4 : at + 10])
            return rows, columns, components, bits
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _jpeg2000_size(content: bytes) -> tuple[int, int, int, int] | None:
    """Rows, columns, components and bits by the SIZ marker, ITU-T T.800 section A.5.1."""
    start = content.find(b"\xff\x4f\xff\x51")
    fields = content[start + 8 : start + 43]
    if start < 0 or len(fields) < 35:
        return None
    width, height, left, top, *_, components, depth = struct.unpack(">LLLLLLLLHB", fields)
    return height - top, width - left, components, (depth & 0x7F) + 1
