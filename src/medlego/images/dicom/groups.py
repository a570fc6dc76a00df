"""What enhanced multi-frame files keep per frame or share among frames, PS3.3 section C.7.6.16."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from medlego.images.dicom.elements import ElementError, Elements
from medlego.images.mending import WARNING

GROUP_KEYWORDS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SHARED, _OWN = GROUP_KEYWORDS
_T = TypeVar("_T")


class FunctionalGroups:
    """One frame's functional groups; what is missing or cannot be read only makes `warnings`."""

    def __init__(self, elements: Elements, frame: int, frames: int) -> None:
        self._elements = elements
        self._warnings: dict[str, None] = {}
        own, shared = (self._tried(elements.count, keyword) for keyword in (_OWN, _SHARED))
        places = [(_OWN, own, frame), (_SHARED, shared, 0)]
        items = (self._tried(elements.item, name, index) for name, count, index in places if count)
        self._sources = [item for item in items if item is not None]
        self.there = bool(own or shared)
        if self.there:
            self._warn(*(f"{name} is missing" for name, count, _ in places if count == 0))
        if own and own != frames:
            self._warn(f"{own:,} for {frames:,} frames")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was missing or could not be read up to now."""
        return tuple(self._warnings)

    def source(self, keyword: str) -> Elements:
        """Where a group's elements stand: in the frame's own, the shared one, or the header."""
        found = (self._tried(source.item, keyword) for source in self._sources)
        return next((item for item in found if item is not None), self._elements)

    def _tried(self, read: Callable[..., _T], keyword: str, *index: int) -> _T | None:
        try:
            return read(keyword, *index)
        except ElementError:
            self._warn(f"{keyword} ignored, it cannot be read")
            return None

    def _warn(self, *texts: str) -> None:
        self._warnings |= dict.fromkeys(f"{WARNING}groups: {text}" for text in texts)
