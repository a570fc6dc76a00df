"""Characters that people do not see, and that a terminal may obey."""

from __future__ import annotations

import unicodedata

_CONTROLS = ("Cc", "Cs")
_UNSEEN = (*_CONTROLS, "Cf", "Zl", "Zp")


def is_plain(text: str) -> bool:
    """Whether a text has no control character and no surrogate, so that it shows as it is."""
    return not any(unicodedata.category(character) in _CONTROLS for character in text)


def is_unseen(character: str) -> bool:
    """Whether it is a control or format character, a surrogate, or ends a line or a paragraph."""
    return unicodedata.category(character) in _UNSEEN
