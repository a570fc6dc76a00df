"""Random damage to a brick file: refused, or still the same brick."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickparts import valid, with_grams, with_profile
from medlego.bricks import brick_from_bytes
from medlego.errors import BrickError

SIZE = len(valid())
DIGEST = brick_from_bytes(valid(), "x").digest
LONGER = brick_from_bytes(with_grams(), "x").digest
KNOWN = brick_from_bytes(with_profile(), "x").digest


def settles(content: bytes, digest: str = DIGEST) -> None:
    """The reader refuses the content, or reads the very brick that was damaged."""
    try:
        brick = brick_from_bytes(content, "x")
    except BrickError:
        return
    assert brick.digest == digest


@given(
    flips=st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 255)), min_size=1, max_size=4)
)
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_flipped_bytes_are_refused_or_leave_the_brick_the_same(
    flips: list[tuple[int, int]],
) -> None:
    content = bytearray(valid())
    for position, mask in flips:
        content[position] ^= mask
    settles(bytes(content))


@given(position=st.integers(0, len(with_grams()) - 1), mask=st.integers(1, 255))
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_a_flipped_byte_beside_grams_is_refused_or_leaves_the_brick_the_same(
    position: int, mask: int
) -> None:
    content = bytearray(with_grams())
    content[position] ^= mask
    settles(bytes(content), LONGER)


@given(position=st.integers(0, len(with_profile()) - 1), mask=st.integers(1, 255))
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_a_flipped_byte_beside_a_profile_is_refused_or_leaves_the_brick_the_same(
    position: int, mask: int
) -> None:
    content = bytearray(with_profile())
    content[position] ^= mask
    settles(bytes(content), KNOWN)


@given(length=st.integers(0, SIZE - 1))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(BrickError, match=r"^x: "):
        brick_from_bytes(valid()[:length], "x")


@given(start=st.integers(0, SIZE), stop=st.integers(0, SIZE), piece=st.binary())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_spliced_bytes_are_refused_or_leave_the_brick_the_same(
    start: int, stop: int, piece: bytes
) -> None:
    settles(valid()[:start] + piece + valid()[stop:])
