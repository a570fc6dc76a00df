"""Labels as text: what people type in different ways and see as the same."""

from __future__ import annotations

import unicodedata

from medlego.support import is_unseen


def plain_label(text: str) -> str:
    """A label as data sets are read: composed (NFC) and without space around it.

    Raises:
        ValueError: characters that nobody sees.
    """
    label = unicodedata.normalize("NFC", text).strip()
    if hidden := [char for char in label if is_unseen(char)]:
        raise ValueError(
            f"expected text without invisible characters, got U+{ord(hidden[0]):04X} in "
            f"{label!a:.60}"
        )
    return label


def visible_label(text: str) -> str:
    """What people see of a label, for comparing those of bricks that were made elsewhere."""
    composed = unicodedata.normalize("NFC", text).strip()
    return "".join(char for char in composed if not is_unseen(char))
