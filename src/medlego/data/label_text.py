"""Labels as text: what people type in different ways and see as the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import combinations

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


def near_spellings(counts: Mapping[str, int]) -> Iterator[str]:
    """Hints where labels differ in case or punctuation, or a rare one in a letter from another."""
    for one, other in combinations(list(counts)[:_COMPARED], 2):
        rare, common = sorted((one, other), key=lambda label: counts[label])
        if _same_words(rare, common) or (
            counts[rare] * _RARE <= counts[common] and _one_letter_off(rare, common)
        ):
            yield (
                f"label {rare!r} ({counts[rare]}) is almost {common!r} ({counts[common]}); where "
                "both mean the same, correct it, or pass --labels-map (in Python: label_map)"
            )


_COMPARED, _RARE = 300, 5
"""Labels that are compared at most; how many times as frequent the other label is."""


def _words(label: str) -> list[str]:
    return re.findall(r"[^\W_]+", label.casefold())


def _same_words(one: str, other: str) -> bool:
    same_digits = re.findall(r"\d+", one) == re.findall(r"\d+", other)
    return same_digits and "".join(_words(one)) == "".join(_words(other)) != ""


def _one_letter_off(one: str, other: str) -> bool:
    """Whether two letters are swapped in a word, or one of a long word differs.

    Codes (T1, IIa) and words that a prefix turns (typical, atypical) are far apart.
    """
    words, others = _words(one), _words(other)
    changed = [pair for pair in zip(words, others, strict=False) if pair[0] != pair[1]]
    if len(words) != len(others) or len(changed) != 1:
        return False
    word, near = sorted(changed[0], key=len)
    if len(word) < 4 or not (word + near).isalpha() or near.endswith(word):
        return False
    if sorted(word) == sorted(near):
        return True
    blocks = SequenceMatcher(None, word, near, autojunk=False).get_matching_blocks()
    return len(near) >= 6 and sum(block.size for block in blocks) >= len(near) - 1
