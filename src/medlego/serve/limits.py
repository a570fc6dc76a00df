"""What one caller, and all of them together, may ask of the service."""

from __future__ import annotations

import os
from dataclasses import dataclass

from medlego.images import MAX_PIXELS


@dataclass(frozen=True)
class Limits:
    """Bytes are of uploads as they arrive; seconds are of wall time."""

    image_bytes: int = 64 << 20
    request_bytes: int = 256 << 20
    held_bytes: int = 1 << 30
    """Of all requests under way together."""
    images: int = 64
    """In one request."""
    pixels: int = MAX_PIXELS
    """Of one image, width × height."""
    requests: int = 64
    """Answered at the same time; one more is told to come back."""
    connections: int = 512
    upload_s: float = 30.0
    """From a request's first byte to its last."""
    decode_s: float = 20.0
    """Of one image, after which it is refused."""
    answer_s: float = 120.0
    """From a request's last byte to its answer."""
    readers: int = max(2, min(4, os.cpu_count() or 1))
    """Processes that decode."""
    batch_images: int = 32
    batch_wait_s: float = 0.01
    """Longest that an image waits for company while the model is idle."""
