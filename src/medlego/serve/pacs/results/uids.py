"""UIDs that follow from what a result is of: the same result made twice has the same UID."""

from __future__ import annotations

import hashlib

FORMAT = "1"
"""Goes into every UID. Raised with any release whose results differ in content or structure for the
same answers, so that they are stored beside those of earlier releases and not over them."""


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 from a UUID of version 8, the first 128 bits of SHA-256.

    Args:
        parts: texts without the character NUL; their order and boundaries matter. The format goes
            before them.

    Returns:
        At most 44 characters.

    Source: DICOM PS3.5 B.2 (UUID derived UID), RFC 9562 section 5.8 (version and variant).
    """
    content = "\0".join(("medlego", FORMAT, *parts)).encode()
    number = int.from_bytes(hashlib.sha256(content).digest()[:16])
    number &= ~(0xF << 76) & ~(0x3 << 62)
    return f"2.25.{number | 0x8 << 76 | 0x2 << 62}"
