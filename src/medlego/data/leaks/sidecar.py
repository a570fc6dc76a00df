"""What a site remembers of the images that a brick was trained on, so that it can check later.

The file stays at the site and belongs into no brick. Patients and exact pixels are kept as keyed
hashes (HMAC-SHA-256, 128 bit), looks as descriptors turned by a rotation that the key
decides. docs/security.md says what that hides and what not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medlego.data.leaks.descriptors import WIDTH, ZOOMS
from medlego.data.leaks.fingerprints import Fingerprints
from medlego.data.leaks.near_duplicates import batched_descriptors
from medlego.data.samples import SPLITS
from medlego.errors import DatasetError
from medlego.support import (
    FrozenModel,
    NoPickle,
    SafetensorsFile,
    ShortRepr,
    read_expected,
    refuse,
    safetensors_bytes,
    spell,
    tensor_problems,
    write_atomically,
)

KEY_BYTES = 32
MAX_FILE_BYTES = 8 << 30

_DOCUMENT = "medlego_seen"
_MARK = 16
_SCALE = 127.0


@dataclass(frozen=True, repr=False)
class SiteKey(ShortRepr, NoPickle, instead="load its key file there"):
    """A site's secret, without which what it remembers cannot be compared with anything."""

    secret: bytes

    @classmethod
    def load(cls, path: Path, *, make: bool = False) -> SiteKey:
        """Read a key file of 64 hexadecimal digits; with `make`, write one where none is.

        Raises:
            DatasetError: nothing there, or something else.
        """
        if make and not path.exists():
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secrets.token_hex(KEY_BYTES) + "\n")
        text = read_expected(path, 1024, DatasetError, "a key file (data remember makes one)")
        try:
            secret = bytes.fromhex(text.decode().strip())
        except ValueError:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise DatasetError(f"{path}: expected {2 * KEY_BYTES} hexadecimal digits, got another")
        return cls(secret)

    def mark(self, purpose: str, content: bytes) -> bytes:
        """A keyed hash, 16 bytes; equal for equal content and purpose."""
        message = purpose.encode() + b"\0" + content
        return hmac.digest(self.secret, message, hashlib.sha256)[:_MARK]

    def rotation(self) -> Tensor:
        """A rotation of descriptors, (`WIDTH`, `WIDTH`) float32, drawn from the key."""
        seed = int.from_bytes(self.mark("looks", b""), "little")
        drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal((WIDTH, WIDTH))
        rotation, upper = np.linalg.qr(drawn)
        return torch.from_numpy(rotation * np.sign(np.diag(upper))).float()


@dataclass(frozen=True, eq=False, repr=False)
class Memory(ShortRepr):
    """What is remembered of n images.

    `patients` and `pixels` are (n, 16) uint8, a row of zeros where no patient is known;
    `looks` (n, len(ZOOMS), `WIDTH`) int8; `splits` (n,) positions in `SPLITS`.
    """

    name: str = field(repr=False)
    check: str
    patients: np.ndarray
    pixels: np.ndarray
    looks: Tensor
    splits: np.ndarray

    @classmethod
    def of(cls, fingerprints: Fingerprints, key: SiteKey) -> Memory:
        """Remember a data set's images."""
        looks = batched_descriptors(fingerprints.thumbnails) @ key.rotation()
        none = bytes(_MARK)
        patients = [key.mark("patient", p.encode()) if p else none for p in fingerprints.patients]
        return cls(
            fingerprints.name,
            key.mark("check", b"").hex(),
            _rows(patients),
            _rows([key.mark("pixels", digest) for digest in fingerprints.pixels]),
            (looks * _SCALE).round().to(torch.int8),
            np.array([SPLITS.index(place.split) for place in fingerprints.places], dtype=np.uint8),
        )

    def __len__(self) -> int:
        return len(self.splits)

    def descriptors(self) -> Tensor:
        """The rotated descriptors, (n, len(ZOOMS), `WIDTH`) float32."""
        return self.looks.float() / _SCALE

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner alone."""
        document = {"format": 1, "name": self.name, "check": self.check}
        arrays = {"patients": self.patients, "pixels": self.pixels, "splits": self.splits}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors["looks"] = self.looks
        write_atomically(path, safetensors_bytes(tensors, _DOCUMENT, spell(document)))
        path.chmod(0o600)

    @classmethod
    def load(cls, path: Path, key: SiteKey) -> Memory:
        """Read what `save` wrote.

        Raises:
            DatasetError: nothing there, another file, a damaged one, or another key.
        """
        file = SafetensorsFile.read(path, MAX_FILE_BYTES, DatasetError, "what data remember wrote")
        document, tensors = file.document(_Document, _DOCUMENT), file.tensors()
        if not hmac.compare_digest(document.check, key.mark("check", b"").hex()):
            raise DatasetError(
                f"{path}: expected the key that it was written with, got another; pass that --key"
            )
        refuse(DatasetError, str(path), _problems(tensors))
        arrays = {name: tensors[name].numpy() for name in ("patients", "pixels", "splits")}
        return cls(document.name, document.check, looks=tensors["looks"], **arrays)


class _Document(FrozenModel):
    format: Literal[1]
    name: Annotated[str, Field(max_length=1000)]
    check: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def _problems(tensors: Mapping[str, Tensor]) -> list[str]:
    count = len(tensors["splits"]) if "splits" in tensors and tensors["splits"].ndim else 0
    marks = {"patients": (count, _MARK), "pixels": (count, _MARK), "splits": (count,)}
    shapes = {**marks, "looks": (count, len(ZOOMS), WIDTH)}
    dtypes = dict.fromkeys(marks, torch.uint8) | {"looks": torch.int8}
    problems, _ = tensor_problems(tensors, shapes, dtypes)
    if not problems and count and int(tensors["splits"].max()) >= len(SPLITS):
        problems.append(f"splits: expected 0 to {len(SPLITS) - 1}, got more")
    return problems


def _rows(marks: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(marks), dtype=np.uint8).reshape(len(marks), _MARK).copy()
