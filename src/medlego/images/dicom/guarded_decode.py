"""Codecs run in worker processes with limits, so that a codestream can take down none but those.

Workers are kept between frames, one per thread that decodes at the same time, since starting
one takes longer than decoding a hundred frames (decision 023).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medlego.images.dicom.codecs import Codec
from medlego.support import Pool, WorkerError

TIMEOUT_S = 60.0
"""Longest that one frame may take."""

_DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4"})


class GuardError(Exception):
    """A frame was not decoded; says why in a few words, without anything from the file."""


def decode_guarded(
    content: bytes, codec: Codec, frame_options: dict[str, Any], *, timeout_s: float = TIMEOUT_S
) -> tuple[np.ndarray, list[str]]:
    """Decode one codestream in a worker.

    Args:
        content: the codestream.
        codec: what decodes it.
        frame_options: the frame's options, see `medlego.images.dicom.decoding.options`.
        timeout_s: after this the worker is killed.

    Returns:
        (rows, columns) or (rows, columns, 3), integers; and the library's warnings.

    Raises:
        GuardError: the codec failed, took too long or too much, or its process ended.
    """
    request = {"syntax": str(codec.syntax), "plugin": codec.plugin, "options": frame_options}
    try:
        answer, body = _pool.ask(request, content, timeout_s)
    except WorkerError as error:
        raise GuardError(str(error)) from None
    if "error" in answer:
        raise GuardError(f"{codec.package}: {answer['error']}")
    shape = (frame_options["rows"], frame_options["columns"], 3)[
        : 3 if frame_options["samples_per_pixel"] == 3 else 2
    ]
    if tuple(answer["shape"]) != shape or answer["dtype"] not in _DTYPES:
        raise GuardError("it gave pixels of another shape")
    return np.frombuffer(body, answer["dtype"]).reshape(shape), list(map(str, answer["said"]))


_pool = Pool("medlego.images.dicom.worker")
