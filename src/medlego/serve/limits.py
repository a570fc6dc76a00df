"""What one caller, and all of them together, may ask of the service."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

from medlego.images import MAX_PIXELS
from medlego.support import FrozenModel

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServiceLimits(FrozenModel):
    """Bytes are of uploads as they arrive; seconds are of wall time."""

    image_bytes: _Count = 64 << 20
    """Of one file."""
    request_bytes: _Count = 128 << 20
    """Of one request."""
    held_bytes: _Count = 512 << 20
    """Of all requests under way together."""
    images: _Count = 64
    """In one request."""
    pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS)] = MAX_PIXELS
    """Of one image, width × height."""
    requests: _Count = 64
    """With a body, answered at the same time; one more is refused with 503."""
    connections: _Count = 512
    """Open at the same time."""
    header_s: _Seconds = 10.0
    """For a request's headers to arrive."""
    upload_s: _Seconds = 30.0
    """For a request's body to arrive, and more for each `upload_bytes_s` that have arrived."""
    upload_bytes_s: _Count = 256 << 10
    """Slowest upload, in bytes a second."""
    decode_s: _Seconds = 20.0
    """Of one image, after which it is refused."""
    answer_s: _Seconds = 120.0
    """From a request's last byte to its answer; also what a shutdown waits for."""
    decoders: Annotated[int, Field(ge=1, le=64)] = max(2, min(4, os.cpu_count() or 1))
    """Processes that decode."""
    batch_images: _Count = 32
    """Most images of one pass."""
    batch_wait_s: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Longest that an image waits for a fuller batch while the model is idle."""
