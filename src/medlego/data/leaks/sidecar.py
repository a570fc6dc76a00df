"""What a site remembers of the images that a brick was trained on, so that it can check later.

The file stays at the site and belongs into no brick. Patients and exact pixels are kept as keyed
hashes (HMAC-SHA-256, 128 bit), looks as descriptors turned by a rotation that the key
decides. docs/security.md says what that hides and what not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from medlego.data.leaks.descriptors import WIDTH, ZOOMS
from medlego.data.leaks.fingerprints import Prints
from medlego.data.leaks.near_duplicates import batched_descriptors
from medlego.data.samples import SPLITS
from medlego.errors import DatasetError, raise_all
from medlego.support import (
    FrozenModel,
    NoPickle,
    ShortRepr,
    check_format,
    entry_problems,
    field_problems,
    parse_object,
    read_expected,
    read_header,
    read_tensors,
    spell,
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
    def of(cls, prints: Prints, key: SiteKey) -> Memory:
        """Remember a data set's images."""
        looks = batched_descriptors(prints.thumbnails) @ key.rotation()
        none = bytes(_MARK)
        patients = [key.mark("patient", p.encode()) if p else none for p in prints.patients]
        return cls(
            prints.name,
            key.mark("check", b"").hex(),
            _rows(patients),
            _rows([key.mark("pixels", digest) for digest in prints.pixels]),
            (looks * _SCALE).round().to(torch.int8),
            np.array([SPLITS.index(place.split) for place in prints.places], dtype=np.uint8),
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
        content = save(tensors | {"looks": self.looks}, {_DOCUMENT: spell(document).decode()})
        write_atomically(path, content)
        path.chmod(0o600)

    @classmethod
    def load(cls, path: Path, key: SiteKey) -> Memory:
        """Read what `save` wrote.

        Raises:
            DatasetError: nothing there, another file, a damaged one, or another key.
        """
        content = read_expected(path, MAX_FILE_BYTES, DatasetError, "what data remember wrote")
        try:
            header = read_header(content)
            raise_all(DatasetError, str(path), entry_problems(header))
            text = (header.get("__metadata__") or {}).get(_DOCUMENT)
            if not isinstance(text, str):
                raise ValueError("expected what data remember wrote, got another file")
            raw = parse_object(text.encode())
            check_format(raw, 1)
            document = _Document.model_validate(raw)
            tensors = read_tensors(content)
        except ValidationError as error:
            raise_all(DatasetError, str(path), field_problems(error))
            raise
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from error
        if not hmac.compare_digest(document.check, key.mark("check", b"").hex()):
            raise DatasetError(
                f"{path}: expected the key that it was written with, got another; pass that --key"
            )
        raise_all(DatasetError, str(path), _problems(tensors))
        arrays = {name: tensors[name].numpy() for name in ("patients", "pixels", "splits")}
        return cls(document.name, document.check, looks=tensors["looks"], **arrays)


class _Document(FrozenModel):
    format: Literal[1]
    name: Annotated[str, Field(max_length=1000)]
    check: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def _problems(tensors: dict[str, Any]) -> list[str]:
    count = len(tensors["splits"]) if "splits" in tensors and tensors["splits"].ndim else 0
    wanted = {
        "patients": (torch.uint8, (count, _MARK)),
        "pixels": (torch.uint8, (count, _MARK)),
        "looks": (torch.int8, (count, len(ZOOMS), WIDTH)),
        "splits": (torch.uint8, (count,)),
    }
    problems = [f"{name}: missing" for name in wanted.keys() - tensors.keys()]
    problems += [
        f"{name[:60]!r}: expected no such tensor" for name in tensors.keys() - wanted.keys()
    ]
    for name in sorted(wanted.keys() & tensors.keys()):
        dtype, shape = wanted[name]
        found = tensors[name]
        if found.dtype is not dtype or tuple(found.shape) != shape:
            problems.append(
                f"{name}: expected {dtype} {shape}, got {found.dtype} {tuple(found.shape)}"
            )
    if not problems and count and int(tensors["splits"].max()) >= len(SPLITS):
        problems.append(f"splits: expected 0 to {len(SPLITS) - 1}, got more")
    return sorted(problems)


def _rows(marks: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(marks), dtype=np.uint8).reshape(len(marks), _MARK).copy()
