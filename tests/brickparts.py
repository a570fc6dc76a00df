"""A valid brick file, taken apart so that a test can change one thing and pack it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import factories
from factories import make_brick
from medlego.bricks import brick_bytes
from medlego.metrics import OperatingPoint
from medlego.support import spell


@cache
def valid(kind: str = "multiclass") -> bytes:
    return brick_bytes(make_brick(kind=kind, count=0 if kind != "ordinal" else 4))


@cache
def with_grams() -> bytes:
    return brick_bytes(factories.with_grams(make_brick()))


@cache
def with_profile() -> bytes:
    return brick_bytes(factories.with_profile(make_brick()))


@cache
def with_calibration() -> bytes:
    point = OperatingPoint(aim="sensitivity", value=0.9, thresholds=(0.25,))
    return brick_bytes(factories.with_calibration(make_brick(kind="binary"), point))


@dataclass
class Parts:
    """A brick file taken apart; `document` may become text to be written as it is."""

    header: dict[str, Any]
    document: Any
    tensors: dict[str, np.ndarray]

    @classmethod
    def of(cls, content: bytes) -> Parts:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        document = json.loads(header.pop("__metadata__")["medlego"])
        data, tensors = content[8 + length :], {}
        for name, entry in header.items():
            values = np.frombuffer(data[slice(*entry["data_offsets"])], np.float32)
            tensors[name] = values.reshape(entry["shape"]).copy()
        return cls(header, document, tensors)

    def text(self) -> str:
        return self.document if isinstance(self.document, str) else spell(self.document).decode()

    def restate(self) -> Parts:
        """State the digest of what the parts now hold, so that a reader gets past it."""
        unstated = {key: value for key, value in self.document.items() if key != "digest"}
        digest = hashlib.sha256(spell(unstated))
        for name, values in sorted(self.tensors.items()):
            shape = ",".join(map(str, values.shape))
            digest.update(f"\0{name}\0{shape}\0".encode() + values.tobytes())
        self.document["digest"] = digest.hexdigest()
        return self

    def pack(self) -> bytes:
        """The file again, with offsets that fit the tensors and the digest as it is stated."""
        names = {"float32": "F32", "float64": "F64", "float16": "F16", "int32": "I32", "bool": "B"}
        header, data = {}, b""
        for name, values in self.tensors.items():
            start, data = len(data), data + values.tobytes()
            header[name] = {
                "dtype": names[values.dtype.name],
                "shape": list(values.shape),
                "data_offsets": [start, len(data)],
            }
        return frame({"__metadata__": {"medlego": self.text()}, **header}, data)

    def with_entries(self, change: Callable[[dict[str, Any]], None]) -> bytes:
        """The file with its tensors' header entries changed and its data as it was."""
        change(self.header)
        data = b"".join(tensor.tobytes() for tensor in self.tensors.values())
        return frame({"__metadata__": {"medlego": self.text()}, **self.header}, data)

    def with_metadata(self, metadata: Any) -> bytes:
        data = b"".join(tensor.tobytes() for tensor in self.tensors.values())
        return frame({"__metadata__": metadata, **self.header}, data)


def frame(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
