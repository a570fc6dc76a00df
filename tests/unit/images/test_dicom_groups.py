"""Functional groups of enhanced multi-frame files: found at little cost, never in the way."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset, read_sequence

from dicomgroups import OWN, SHARED, UNDEFINED, Encoding
from medlego.errors import ImageError
from medlego.images import Image, read_header, read_image
from medlego.images.dicom import elements, sequences
from medlego.images.dicom.sequences import find_items
from medlego.images.dicom.stream import OverBudgetError, Stream

ENCODINGS = [
    Encoding(explicit, little, lengths)
    for explicit, little in ((True, True), (False, True), (True, False))
    for lengths in (True, False)
]
PLAIN = Encoding()
OPEN = Encoding(lengths=False)


def read(tmp_path: Path, content: bytes, frame: int | None = None) -> Image:
    (tmp_path / "x").write_bytes(content)
    return read_image(tmp_path / "x", frame)


def numbers(image: Image) -> tuple[str, ...]:
    """What a frame's own groups say: slope, window and spacing."""
    steps = [step for step in image.applied if step.startswith(("modality", "window"))]
    return (*steps, str(image.spacing_mm))


def of_frame(number: int) -> tuple[str, ...]:
    return (
        f"modality: slope {number % 3 + 1}, intercept {number % 7}",
        f"window: centre {1000 + number % 500}, width {800 + number % 300}, LINEAR",
        str((float(f"0.{number % 9 + 1}"), 0.5)),
    )


# what is read -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("encoding", "frames"),
    [(encoding, 10) for encoding in ENCODINGS]
    + [(e, n) for e in (PLAIN, OPEN) for n in (500, 2400)],
)
def test_a_frame_s_own_groups_are_what_pydicom_reads(
    tmp_path: Path, encoding: Encoding, frames: int
) -> None:
    content = encoding.enhanced(frames)
    (tmp_path / "x").write_bytes(content)
    own = dcmread(tmp_path / "x")[OWN]
    for number in (0, 3, frames // 2, frames - 1):
        image = read(tmp_path, content, number)
        values = own[number].PixelValueTransformationSequence[0]
        window = own[number].FrameVOILUTSequence[0]
        assert numbers(image) == (
            f"modality: slope {values.RescaleSlope:g}, intercept {values.RescaleIntercept:g}",
            f"window: centre {window.WindowCenter:g}, width {window.WindowWidth:g}, LINEAR",
            str(tuple(map(float, own[number].PixelMeasuresSequence[0].PixelSpacing))),
        )
        assert image.warnings == ()
    assert read_header(tmp_path / "x").frames == frames


@pytest.mark.parametrize("encoding", [PLAIN, OPEN])
def test_work_does_not_grow_with_the_frames(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[list[int]] = []

    def counted(kind: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[-1][kind] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(elements, "read_dataset", counted(0, read_dataset))
    monkeypatch.setattr(elements, "find_items", counted(1, find_items))
    monkeypatch.setattr(Stream, "read", counted(2, Stream.read))
    for frames in (10, 500, 2400):
        counts.append([0, 0, 0])
        read(tmp_path, encoding.enhanced(frames))
    (parsed, found, reads), *more = counts
    for parsed_more, found_more, reads_more in more:
        assert (parsed_more, found_more) == (parsed, found)
        assert reads_more < reads + 20  # a sequence without length comes in growing pieces


@pytest.mark.parametrize("encoding", [PLAIN, OPEN])
def test_12_000_frames_lie_within_the_limits(tmp_path: Path, encoding: Encoding) -> None:
    own = encoding.sequence(OWN, [encoding.frame(7) * 2] * 12_000)
    image = read(tmp_path, encoding.file(12_000, encoding.sequence(SHARED, [b""]), own))
    assert numbers(image) == of_frame(7)
    assert image.warnings == ()


# what is mended ---------------------------------------------------------------------------------
@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize(
    ("item_ends", "sequence_ends"), [(False, True), (True, False)], ids=["items", "sequences"]
)
def test_delimiters_that_are_missing(
    tmp_path: Path, *, explicit: bool, item_ends: bool, sequence_ends: bool
) -> None:
    encoding = Encoding(explicit, True, False, item_ends, sequence_ends)
    for number in (0, 4, 9):
        assert numbers(read(tmp_path, encoding.enhanced(10), number)) == of_frame(number)


@pytest.mark.parametrize("encoding", [PLAIN, OPEN])
def test_sequences_of_unknown_type_are_implicit(tmp_path: Path, encoding: Encoding) -> None:
    inner = Encoding(explicit=False, lengths=encoding.lengths)
    own = encoding.sequence(OWN, map(inner.frame, range(4)), b"UN")
    image = read(tmp_path, encoding.file(4, encoding.sequence(SHARED, [b""]), own), 3)
    assert numbers(image) == of_frame(3)


GROUPS = PLAIN.frame(0)


def without(name: str) -> bytes:
    """A frame's groups but one."""
    return b"".join(changed(name))


def changed(name: str) -> tuple[bytes, bytes]:
    """What stands before and behind one of a frame's groups."""
    start = GROUPS.index(PLAIN.tag(name))
    end = start + 12 + int.from_bytes(GROUPS[start + 8 : start + 12], "little")
    return GROUPS[:start], GROUPS[end:]


def broken(name: str) -> bytes:
    """A frame's groups of which one holds sequences in sequences without end."""
    before, behind = changed(name)
    nested = (
        OPEN.tag(0xFFFEE000) + OPEN.length(None) + OPEN.tag(name) + b"SQ\0\0" + OPEN.length(None)
    )
    return before + PLAIN.tag(name) + b"SQ\0\0" + PLAIN.length(nested * 200) + nested * 200 + behind


def test_an_unknown_vr_is_stepped_over(tmp_path: Path) -> None:
    extra = OPEN.element(0x00291010, b"XY", b"value")
    own = OPEN.sequence(OWN, [extra + OPEN.frame(number) for number in range(4)])
    image = read(tmp_path, OPEN.file(4, OPEN.sequence(SHARED, [b""]), own), 2)
    assert numbers(image) == of_frame(2)


SHARED_ITEM = PLAIN.sequence(SHARED, [b""])


@pytest.mark.parametrize(
    ("sequences", "warnings"),
    [
        ([PLAIN.sequence(OWN, [GROUPS] * 4)], [f"groups: {SHARED} is missing"]),
        ([PLAIN.sequence(SHARED, [GROUPS])], [f"groups: {OWN} is missing"]),
        (
            [PLAIN.sequence(SHARED, []), PLAIN.sequence(OWN, [GROUPS] * 4)],
            [f"groups: {SHARED} is missing"],
        ),
        ([SHARED_ITEM, PLAIN.sequence(OWN, [GROUPS] * 3)], ["groups: 3 for 4 frames"]),
        ([SHARED_ITEM, PLAIN.sequence(OWN, [GROUPS] * 5)], ["groups: 5 for 4 frames"]),
        ([SHARED_ITEM, PLAIN.sequence(OWN, [without("PlanePositionSequence")] * 4)], []),
        ([SHARED_ITEM, PLAIN.sequence(OWN, [broken("PlanePositionSequence")] * 4)], []),
        (
            [SHARED_ITEM, PLAIN.sequence(OWN, [broken("PixelMeasuresSequence")] * 4)],
            [
                "groups: PixelMeasuresSequence ignored, it cannot be read",
                "spacing: unknown, PixelMeasuresSequence does not say it",
            ],
        ),
        (
            [SHARED_ITEM, PLAIN.sequence(OWN, [without("PixelMeasuresSequence")] * 4)],
            ["spacing: unknown, PixelMeasuresSequence does not say it"],
        ),
        ([SHARED_ITEM, PLAIN.element(OWN, b"LO", b"none at all")], [f"groups: {OWN} is missing"]),
        ([SHARED_ITEM, PLAIN.element(OWN, b"US", b"odd")], [f"groups: {OWN} is missing"]),
    ],
)
def test_broken_groups_lose_no_image(
    tmp_path: Path, sequences: list[bytes], warnings: list[str]
) -> None:
    image = read(tmp_path, PLAIN.file(4, *sequences))
    assert image.warnings == tuple(f"warning: {warning}" for warning in warnings)


# limits -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", [PLAIN, OPEN])
def test_groups_of_too_many_elements(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "MAX_STEPS", 50)
    own = encoding.sequence(OWN, [encoding.frame(0)] * 60)
    content = encoding.file(60, encoding.sequence(SHARED, [b""]), own)
    if encoding.lengths:  # pixels can be found without them
        said = (f"warning: groups: {OWN} ignored, it cannot be read",)
        assert read(tmp_path, content).warnings == said
    else:
        with pytest.raises(ImageError, match="expected a header of ordinary size"):
            read(tmp_path, content)


def test_items_of_any_sequence_are_those_that_pydicom_finds() -> None:
    random = Random(0)

    def anything(encoding: Encoding, depth: int) -> bytes:
        parts = [encoding.element("StackID", b"SH", bytes(random.randrange(1, 9)))]
        if depth:
            lengths = encoding.lengths if random.random() < 0.5 else not encoding.lengths
            inner = Encoding(encoding.explicit, encoding.little, lengths)
            items = [anything(inner, depth - 1) for _ in range(random.randrange(4))]
            parts.append(inner.sequence(OWN, items))
        random.shuffle(parts)
        return b"".join(parts)

    for encoding in ENCODINGS * 20:
        items = [anything(encoding, 3) for _ in range(random.randrange(5))]
        head = 12 if encoding.explicit else 8
        content = encoding.sequence(OWN, items)[head:]
        implicit, little = not encoding.explicit, encoding.little
        size = len(content) if encoding.lengths else UNDEFINED
        stream = BytesIO(content + b"behind it")
        theirs = read_sequence(stream, implicit, little, size, "latin-1")
        places, end = find_items(content, implicit=implicit, little=little)
        ours = [content[start:stop] for start, stop in zip(places[::2], places[1::2], strict=True)]
        assert len(theirs) == len(ours)
        assert ours == items
        assert end == (None if encoding.lengths else len(content))


def test_no_bytes_stop_the_search() -> None:
    random = Random(0)
    words = [b"\xfe\xff\0\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff" * 4, bytes(4)]
    words += [b"\x28\0\x10\0", b"SQ\0\0", b"US\2\0", pack("<L", 1 << 31)]
    for _ in range(3000):
        content = b"".join(random.choices(words, k=random.randrange(300)))
        try:
            places, end = find_items(content, implicit=random.random() < 0.5, little=True)
        except (RecursionError, OverBudgetError):
            continue
        assert len(places) % 2 == 0
        assert end is None or end <= len(content)
