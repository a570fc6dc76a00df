"""Which images share a patient, their pixels or their image content, and where that is a leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from medlego.data.leaks.descriptors import similarity
from medlego.data.leaks.fingerprints import Fingerprints, ImagePlace
from medlego.data.leaks.near_duplicates import LIKE, batched_descriptors, near_duplicates
from medlego.data.leaks.sidecar import Memory, SiteKey
from medlego.data.samples import SPLITS, as_number
from medlego.errors import DatasetError
from medlego.support import Progress, ShortRepr, silent

REMEMBERED_LIKE = 0.985
"""Similarity of descriptors from which an image looks like a remembered one (decision 024)."""

_ROWS = 512
_NUMBER = "patient-number"
_Firsts = dict[bytes, dict[int, int]]
"""Of each value, by part, the first image that has it."""


@dataclass(frozen=True, repr=False)
class LeakPair(ShortRepr):
    """Two images that share something; for `patient` the first image of either side.

    `kind` is `patient`, `patient-number` for ids that are the same number in two spellings
    (`00100`, `100.0`), `pixels`, or `near-duplicate` for images that look alike.
    `leak`: one may be trained on and the other is held out from that. `conflict`: their labels
    contradict each other, which pairs of one patient may.
    """

    kind: str
    first: ImagePlace
    second: ImagePlace
    likeness: float | None
    leak: bool
    conflict: bool


@dataclass(frozen=True, repr=False)
class LeakReport(ShortRepr):
    """All pairs found among data sets and remembered images, those of one split included."""

    images: int
    pairs: tuple[LeakPair, ...]

    @property
    def leaks(self) -> tuple[LeakPair, ...]:
        """The pairs across a line that nothing should cross."""
        return tuple(pair for pair in self.pairs if pair.leak)

    @property
    def conflicts(self) -> tuple[LeakPair, ...]:
        """The pairs with contradicting labels."""
        return tuple(pair for pair in self.pairs if pair.conflict)

    def counts(self) -> dict[tuple[str, str, str, str, str], tuple[int, int]]:
        """Per kind, data set and split of either side: images of the first, of the second."""
        sides: dict[tuple[str, str, str, str, str], tuple[set[ImagePlace], set[ImagePlace]]] = {}
        for pair in self.pairs:
            one, other = pair.first, pair.second
            key = (pair.kind, one.data, one.split, other.data, other.split)
            first, second = sides.setdefault(key, (set(), set()))
            first.add(one)
            second.add(other)
        return {key: (len(first), len(second)) for key, (first, second) in sides.items()}

    def as_dict(self) -> dict[str, object]:
        """For JSON; no patient id is in it."""
        return {
            "images": self.images,
            "leaks": dict(Counter(pair.kind for pair in self.leaks)),
            "conflicts": len(self.conflicts),
            "pairs": [asdict(pair) for pair in self.pairs],
        }


def check_leaks(
    sets: Sequence[Fingerprints],
    memories: Sequence[Memory] = (),
    key: SiteKey | None = None,
    *,
    whole: bool = False,
    like: float = LIKE,
    remembered_like: float = REMEMBERED_LIKE,
    show: Progress = silent,
) -> LeakReport:
    """Compare every image with every other, and with what a site remembers.

    Args:
        sets: the data sets' images; names differ.
        memories: of earlier training.
        key: the one that they were written with.
        whole: every image counts as test image, whatever its split, as for `evaluate --split all`.
        like: likeness from which images at hand are near-duplicates.
        remembered_like: similarity of descriptors from which an image looks like a remembered
            one; nothing else of that is at hand to compare.
        show: called with what is under way.

    Returns:
        Pairs of one patient only across splits and data sets, the others also within a split.
        Nothing leaks between images of splits of one name; images remembered were trained on in
        their split.

    Raises:
        DatasetError: two sets of one name, or memories without their key.
    """
    names = [fingerprints.name for fingerprints in sets]
    if len(set(names)) < len(names):
        raise DatasetError(f"leaks: expected data sets of different names, got {', '.join(names)}")
    if memories and key is None:
        raise DatasetError("leaks: expected the key of what is remembered, got none; pass --key")
    images = _Images(sets, whole)
    pairs = [*images.shared(), *images.alike(like, show)]
    for memory in memories:
        assert key is not None, "checked above"
        pairs += images.remembered(memory, key, remembered_like)
    return LeakReport(len(images.places), tuple(pairs))


class _Images:
    """The images of all sets in one row."""

    def __init__(self, sets: Sequence[Fingerprints], whole: bool) -> None:
        self.sets = sets
        self.whole = whole
        self.places = [place for fingerprints in sets for place in fingerprints.places]
        self.pixels = [digest for fingerprints in sets for digest in fingerprints.pixels]
        self.patients = [patient for fingerprints in sets for patient in fingerprints.patients]
        self.thumbnails = torch.cat([fingerprints.thumbnails for fingerprints in sets])
        self.of_set = np.repeat(np.arange(len(sets)), [len(fingerprints) for fingerprints in sets])
        self.starts = np.cumsum([0, *(len(fingerprints) for fingerprints in sets)])
        keys = [(place.data, place.split) for place in self.places]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        self.parts = np.array([number[key] for key in keys])

    def equal(
        self, kind: str, values: Sequence[bytes], others: _Firsts | None = None
    ) -> Iterator[tuple[int, int]]:
        """The first of every part that has a value, and each image that has it too.

        Of a patient only the first image of a part counts, and none of the same part. `others` are
        not of this row; by default its images are compared with one another.
        """
        firsts: _Firsts = {} if others is None else others
        seen: set[tuple[bytes, int]] = set()
        for i, (value, part) in enumerate(zip(values, self.parts.tolist(), strict=True)):
            if not value:
                continue
            again = (value, part) in seen
            for other, first in sorted(firsts.get(value, {}).items()):
                if kind == "pixels" or not (again or other == part):
                    yield first, i
            seen.add((value, part))
            if others is None:
                firsts.setdefault(value, {}).setdefault(part, i)

    def shared(self) -> Iterator[LeakPair]:
        """Pairs of one patient and of equal pixels."""
        patients = [patient.encode() for patient in self.patients]
        numbers = [as_number(patient).encode() for patient in self.patients]
        for kind, values in (("patient", patients), (_NUMBER, numbers), ("pixels", self.pixels)):
            for first, i in self.equal(kind, values):
                if kind != _NUMBER or patients[first] != patients[i]:
                    yield self.pair(kind, first, i)

    def alike(self, like: float, show: Progress) -> Iterator[LeakPair]:
        """Pairs that look alike without being equal."""
        for one, other, likeness in near_duplicates(
            self.thumbnails, self.parts, like=like, show=show
        ):
            if self.pixels[one] != self.pixels[other]:
                yield self.pair("near-duplicate", one, other, likeness)

    def pair(self, kind: str, one: int, other: int, likeness: float | None = None) -> LeakPair:
        first, second = self.places[one], self.places[other]
        leak = first.split != second.split and not self.whole
        conflict = not kind.startswith("patient") and self.conflicts(one, other)
        return LeakPair(kind, first, second, likeness, leak, conflict)

    def conflicts(self, one: int, other: int) -> bool:
        """Whether a label that both sides know is present here and absent there."""
        answers = []
        for i in (one, other):
            fingerprints = self.sets[self.of_set[i]]
            row = fingerprints.answers[i - self.starts[self.of_set[i]]]
            answers.append(dict(zip(fingerprints.labels, row.tolist(), strict=True)))
        first, second = answers
        return any(
            {first[label], second[label]} == {0.0, 1.0} for label in first.keys() & second.keys()
        )

    def remembered(self, memory: Memory, key: SiteKey, like: float) -> Iterator[LeakPair]:
        """Pairs with remembered images, which come first."""
        marks = {
            "patient": [key.mark("patient", p.encode()) if p else b"" for p in self.patients],
            "pixels": [key.mark("pixels", digest) for digest in self.pixels],
        }
        for kind, rows in (("patient", memory.patients), ("pixels", memory.pixels)):
            firsts: _Firsts = {}
            for i, (row, split) in enumerate(zip(rows, memory.splits.tolist(), strict=True)):
                if row.any():
                    firsts.setdefault(row.tobytes(), {}).setdefault(split - len(SPLITS), i)
            for first, i in self.equal(kind, marks[kind], firsts):
                yield self.with_memory(kind, memory, first, i)
        theirs = memory.descriptors()
        mine = batched_descriptors(self.thumbnails) @ key.rotation()
        for start in range(0, len(mine) if len(memory) else 0, _ROWS):
            best = similarity(mine[start : start + _ROWS], theirs).max(dim=1)
            for i, (value, first) in enumerate(zip(*best, strict=True), start):
                pair = int(first), i
                if value >= like and memory.pixels[pair[0]].tobytes() != marks["pixels"][i]:
                    yield self.with_memory("near-duplicate", memory, *pair, float(value))

    def with_memory(
        self, kind: str, memory: Memory, theirs: int, mine: int, likeness: float | None = None
    ) -> LeakPair:
        split = SPLITS[memory.splits[theirs]]
        index = int((memory.splits[:theirs] == memory.splits[theirs]).sum())
        first = ImagePlace(f"remembered: {memory.name}", split, index)
        second = self.places[mine]
        leak = self.whole or first.split != second.split
        return LeakPair(kind, first, second, likeness, leak, False)
