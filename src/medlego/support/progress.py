"""How long work tells whoever started it where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and how much there is (0: unknown)."""


def silent(_what: str, _done: int, _total: int) -> None:
    """A progress that shows nothing."""
