"""Seeded requests of the kind that a service must survive, each with a form's body.

Mutated files of every format, bombs, wrong types, too much of everything, paths and worse in
names, and forms that are none. Nothing here is a sane request but now and then by luck.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from pydicom import data

from medlego.serve import ServiceLimits

BOUNDARY = "medlego-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
_SMALL_BYTES = 60_000

NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/dev/zero",
    "/proc/self/environ",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "|touch /tmp/medlego-was-here",
    "$(touch /tmp/medlego-was-here)",
    "'; DROP TABLE studies; --",
    "a\0b.png",
    "a" * 4000,
    "\u202egnp.exe",
    'x"; name="task',
    "x\r\nX-Injected: yes",
    "<script>alert(1)</script>.png",
    "",
    ".",
    "..",
    "CON",
)


@dataclass(frozen=True)
class Upload:
    """One request to `/v1/predict`."""

    kind: str
    body: bytes
    content_type: str = FORM


def uploads(count: int, seed: int, limits: ServiceLimits) -> Iterator[Upload]:
    """So many requests, kinds in turn, the same for the same seed."""
    generator = np.random.default_rng(seed)
    kinds = list(_KINDS.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        made = make(generator, limits)
        yield made if isinstance(made, Upload) else Upload(kind, made)


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A form of (field, file name or None, content)."""
    body = b""
    for field, name, content in parts:
        file = "" if name is None else f'; filename="{name}"'
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode(
                errors="surrogatepass"
            )
        )
        body += content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def _one(content: bytes, name: str = "x") -> bytes:
    return form(("images", name, content))


# files -------------------------------------------------------------------------------------------
@cache
def _dicom() -> tuple[bytes, ...]:
    paths = sorted((Path(data.__file__).parent / "test_files").glob("*.dcm"))
    return tuple(f.read_bytes() for f in paths if f.stat().st_size < _SMALL_BYTES)


@cache
def _pictures() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3)).astype(np.uint8)
    files = []
    for kind, options in (("PNG", {}), ("JPEG", {}), ("TIFF", {"compression": "tiff_lzw"})):
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        files.append(stream.getvalue())
    volume = nibabel.Nifti1Image(pixels[..., 0][..., None].repeat(4, 2), np.eye(4)).to_bytes()
    return (*files, volume, gzip.compress(volume, mtime=0))


def _mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Some bytes changed, or cut off, doubled, or moved."""
    changed = bytearray(content)
    match int(generator.integers(4)):
        case 0:
            for at in generator.integers(0, len(changed), int(generator.integers(1, 40))):
                changed[at] = int(generator.integers(256))
        case 1:
            del changed[int(generator.integers(len(changed))) :]
        case 2:
            start, stop = sorted(generator.integers(0, len(changed), 2).tolist())
            changed[start:start] = changed[start:stop]
        case _:
            start, stop = sorted(generator.integers(0, min(2000, len(changed)), 2).tolist())
            del changed[start:stop]
    return bytes(changed)


def _mutated_dicom(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    files = _dicom()
    return _one(_mutated(files[int(generator.integers(len(files)))], generator))


def _mutated_picture(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    pictures = _pictures()
    return _one(_mutated(pictures[int(generator.integers(len(pictures)))], generator))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    start = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + b"".join(chunks) + _chunk(b"IEND", b"")


@cache
def _zeros(megabytes: int) -> bytes:
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def _bomb(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    """Small files that claim to be, or are, very large."""
    match int(generator.integers(6)):
        case 0:
            content = _png(2**31 - 1, 2**31 - 1, _chunk(b"IDAT", _zeros(1)))
        case 1:
            content = _png(40_000, 40_000, _chunk(b"IDAT", _zeros(200)))
        case 2:
            text = _chunk(b"zTXt", b"Comment\0\0" + _zeros(200))
            content = _png(32, 32, text, _chunk(b"IDAT", _zeros(1)))
        case 3:
            content = _png(32, 32, _chunk(b"IDAT", _zeros(200)))
        case 4:
            header = bytearray(_pictures()[3][:352])
            struct.pack_into("<8h", header, 40, 3, 32_000, 32_000, 200, 1, 1, 1, 1)
            content = gzip.compress(bytes(header) + bytes(1 << 20), mtime=0)
        case _:
            dicom = bytearray(next(d for d in _dicom() if b"\x28\x00\x10\x00US\x02\x00" in d))
            for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
                at = dicom.index(tag) + len(tag)
                dicom[at : at + 2] = b"\xff\xff"
            content = bytes(dicom)
    return _one(content)


def _wrong_type(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    contents = (
        b"",
        b"\0",
        b"GIF89a" + bytes(200),
        b"%PDF-1.7\n" + bytes(200),
        b"PK\x03\x04" + bytes(200),
        b"\x7fELF" + bytes(200),
        b"#!/bin/sh\ntouch /tmp/medlego-was-here\n",
        b"\x80\x04\x95" + b"cos\nsystem\n(S'id'\ntR.",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        bytes(128) + b"DICM",
        bytes(128) + b"DICM" + generator.bytes(500),
        b"MZ" + bytes(126) + b"DICM" + generator.bytes(500),
        generator.bytes(int(generator.integers(1, 5000))),
        b"8BPS" + bytes(200),
        b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
    )
    return _one(contents[int(generator.integers(len(contents)))])


# forms -------------------------------------------------------------------------------------------
def _huge(generator: np.random.Generator, limits: ServiceLimits) -> bytes:
    over = (limits.image_bytes, limits.request_bytes)[int(generator.integers(2))] + 1
    return _one(_pictures()[0] + bytes(over))


def _many(_generator: np.random.Generator, limits: ServiceLimits) -> bytes:
    return form(*[("images", "x", b"x")] * (limits.images + 1))


def _named(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    name = NAMES[int(generator.integers(len(NAMES)))]
    return _one(_pictures()[0], name)


def _fields(generator: np.random.Generator, _limits: ServiceLimits) -> bytes:
    image = ("images", "x", _pictures()[0])
    cases: tuple[list[Any], ...] = (
        [],
        [("images", None, _pictures()[0])],
        [image, ("task", None, b"no such task")],
        [image, ("task", None, b"\xff\xfe\0")],
        [image, ("task", None, b"x" * 5000)],
        [image, ("task", None, b"a"), ("task", None, b"b")],
        [image, ("task", "x", b"a")],
        [image, ("every_task", None, b"maybe")],
        [image, ("__class__", None, b"x")],
        [image, ("path", None, b"/etc/passwd")],
        [("image", "x", _pictures()[0])],
        [("images[]", "x", _pictures()[0])],
        [image] + [(f"f{n}", None, b"x") for n in range(50)],
    )
    return form(*cases[int(generator.integers(len(cases)))])


def _no_form(generator: np.random.Generator, _limits: ServiceLimits) -> Upload:
    whole = _one(_pictures()[0])
    cases = (
        Upload("no form", whole, "application/json"),
        Upload("no form", b'{"images": ["/etc/passwd"]}', "application/json"),
        Upload("no form", whole, "multipart/form-data"),
        Upload("no form", whole, "multipart/form-data; boundary=other"),
        Upload("no form", whole, f"multipart/form-data; boundary={'b' * 300}"),
        Upload("no form", whole, "multipart/mixed; boundary=" + BOUNDARY),
        Upload("no form", whole, "application/x-www-form-urlencoded"),
        Upload("no form", whole, "multipart/form-data; charset=no; boundary=" + BOUNDARY),
        Upload("no form", whole[: int(generator.integers(len(whole)))]),
        Upload("no form", _mutated(whole[:200], generator) + whole[200:]),
        Upload("no form", b""),
        Upload("no form", b"--" + BOUNDARY.encode() + b"\r\n" * 3000),
        Upload("no form", whole.replace(b"Content-Disposition", b"X" * 20_000)),
    )
    return cases[int(generator.integers(len(cases)))]


_KINDS: dict[str, Callable[[np.random.Generator, ServiceLimits], bytes | Upload]] = {
    "mutated DICOM": _mutated_dicom,
    "mutated picture": _mutated_picture,
    "bomb": _bomb,
    "wrong type": _wrong_type,
    "name": _named,
    "fields": _fields,
    "no form": _no_form,
    "mutated DICOM again": _mutated_dicom,
    "huge": _huge,
    "many": _many,
}
