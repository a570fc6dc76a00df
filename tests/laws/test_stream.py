"""Streaming is `linear` by another road: same sum, whoever holds the bricks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laws.strategies import (
    EVERYTHING,
    SHAPES,
    Case,
    assert_same_deltas,
    cases,
    dense,
    factor_bytes,
    law_settings,
    random_delta,
)
from medlego.bricks import LowRank, canonical_problems
from medlego.errors import MergeError
from medlego.merge import METHODS, Merged, TaskVector, merge_stream, present
from medlego.support import one_thread

LAWS = law_settings(40)
MANY = 40
"""Bricks of rank 2 that fill the laws' widest target several times over."""


def stream(case: Case, rank: int | None = EVERYTHING) -> Merged:
    with one_thread():
        return merge_stream(zip(case.task_vectors, case.coefficients, strict=True), rank)


def linear(case: Case, rank: int | None = EVERYTHING) -> Merged:
    with one_thread():
        return METHODS["linear"](case.task_vectors, case.coefficients, rank)


def many(seed: int = 0) -> Case:
    """Bricks on targets that come and go; the third stands on all."""
    vectors = []
    for number in range(MANY):
        names = [n for place, n in enumerate(SHAPES) if number == 2 or (number + place) % 3]
        vectors.append({n: random_delta(SHAPES[n], 2, 1000 * seed + number) for n in names})
    return Case(tuple(vectors), tuple((-1) ** n / (1 + n) for n in range(MANY)))


@LAWS
@given(case=cases(), rank=st.sampled_from((None, 1, 3, EVERYTHING)))
def test_stream_is_linear(case: Case, rank: int | None) -> None:
    streamed, expected = stream(case, rank), linear(case, rank)
    if rank is None or rank == EVERYTHING:
        assert_same_deltas(dense(streamed), dense(expected), case.atol)
    assert {n: d.rank for n, d in streamed.deltas.items()} == {
        n: d.rank for n, d in expected.deltas.items()
    }
    assert streamed.losses == pytest.approx(expected.losses, rel=1e-5, abs=case.atol)


@LAWS
@given(case=cases())
def test_below_full_rank_stream_gives_the_bytes_of_linear(case: Case) -> None:
    ranks: dict[str, int] = {}
    for vector in present(case.task_vectors, case.coefficients):
        for name, delta in vector.items():
            ranks[name] = ranks.get(name, 0) + delta.rank
    low = {n for n, rank in ranks.items() if rank < min(SHAPES[n])}
    streamed, expected = (factor_bytes(m(case, None).deltas) for m in (stream, linear))
    assert {n: streamed[n] for n in low} == {n: expected[n] for n in low}


def test_stream_far_above_full_rank_is_linear() -> None:
    case = many()
    assert_same_deltas(dense(stream(case)), dense(linear(case)), case.atol)


@pytest.mark.parametrize("rank", [1, 4])
def test_cut_stream_reports_the_loss_of_linear(rank: int) -> None:
    case = many()
    streamed, expected = stream(case, rank), linear(case, rank)
    assert streamed.losses == pytest.approx(expected.losses, rel=1e-5)
    assert {d.rank for n, d in streamed.deltas.items() if n != "d"} == {rank}


def test_stream_is_canonical() -> None:
    deltas = stream(many(), None).deltas
    assert [p for delta in deltas.values() for p in canonical_problems(delta)] == []


def test_same_stream_gives_same_bytes() -> None:
    first, second = (factor_bytes(stream(many()).deltas) for _ in range(2))
    assert first == second


def test_order_of_a_stream_is_irrelevant() -> None:
    case = many()
    order = torch.randperm(MANY, generator=torch.Generator().manual_seed(3)).tolist()
    shuffled = Case(
        tuple(case.task_vectors[i] for i in order), tuple(case.coefficients[i] for i in order)
    )
    assert_same_deltas(dense(stream(shuffled)), dense(stream(case)), case.atol)


def test_coefficient_zero_in_a_stream_equals_leaving_the_brick_out() -> None:
    case = many()
    muted = tuple(0.0 if n % 2 else c for n, c in enumerate(case.coefficients))
    without = Case(case.task_vectors[::2], case.coefficients[::2])
    merged = stream(Case(case.task_vectors, muted))
    assert factor_bytes(merged.deltas) == factor_bytes(stream(without).deltas)


def test_stream_does_not_mutate_its_bricks() -> None:
    case = many()
    before = [factor_bytes(vector) for vector in case.task_vectors]
    stream(case)
    assert [factor_bytes(vector) for vector in case.task_vectors] == before


def test_stream_of_nothing_is_nothing() -> None:
    merged = merge_stream([])
    assert (merged.deltas, merged.losses) == ({}, {})


def test_brick_without_targets_adds_nothing() -> None:
    (vector, *_) = many().task_vectors
    merged = merge_stream([({}, 1.0), (vector, 1.0), ({}, 1.0)])
    assert merged.deltas.keys() == vector.keys()


@pytest.mark.parametrize("coefficient", [float("nan"), float("inf"), -float("inf"), 1e39])
@pytest.mark.parametrize("before", [0, 20])
def test_sum_beyond_float32_is_refused(coefficient: float, before: int) -> None:
    delta = random_delta(SHAPES["a"], 2, 0)
    bricks = [({"a": delta}, 1.0)] * before + [({"a": delta}, coefficient)]
    with pytest.raises(MergeError, match="coefficients: expected a sum that float32 holds, got"):
        merge_stream(bricks)


def test_sum_that_grows_beyond_float32_bit_by_bit_is_refused() -> None:
    delta = random_delta(SHAPES["a"], 2, 0)
    with pytest.raises(MergeError, match="coefficients: expected a sum that float32 holds, got"):
        merge_stream([({"a": delta}, 3e36)] * 100)


def test_target_of_another_shape_is_refused() -> None:
    bricks = [({"a": random_delta(shape, 2, 0)}, 1.0) for shape in ((12, 9), (9, 12))]
    with pytest.raises(MergeError, match=r"target 'a': expected shape \(12, 9\) .*got \(9, 12\)"):
        merge_stream(bricks)


class Vector(dict[str, LowRank]):
    """A task vector that can be watched."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_at_most_one_task_vector_lives_at_a_time() -> None:
    alive: weakref.WeakSet[Vector] = weakref.WeakSet()
    counts = []

    def bricks() -> Iterator[tuple[TaskVector, float]]:
        for number in range(MANY):
            vector = Vector(a=random_delta(SHAPES["a"], 2, number))
            alive.add(vector)
            counts.append(len(alive))
            yield vector, 0.1
            del vector

    merge_stream(bricks())
    assert counts == [1] * MANY


def test_deltas_that_wait_are_bounded_whatever_the_count() -> None:
    alive: weakref.WeakSet[LowRank] = weakref.WeakSet()
    counts = []

    def bricks() -> Iterator[tuple[TaskVector, float]]:
        for number in range(MANY):
            delta = random_delta(SHAPES["a"], 2, number)
            alive.add(delta)
            counts.append(len(alive))
            yield {"a": delta}, 0.1
            del delta

    merge_stream(bricks())
    assert max(counts) == 5  # the fifth brick of rank 2 fills a target of 12 × 9
    assert not alive


def test_progress_counts_targets() -> None:
    progress = []
    vector = {n: random_delta(shape, 2, 0) for n, shape in SHAPES.items()}
    merge_stream([(vector, 1.0)], show=lambda *now: progress.append(now))
    assert progress == [("decomposing", number, len(SHAPES)) for number in range(len(SHAPES))]
