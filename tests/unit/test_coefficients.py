"""Which coefficients a merge takes, and what the methods do with a rank."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from factories import make_base, make_brick, make_gram
from medlego import assemble
from medlego.errors import MergeError
from medlego.lowrank import LowRank
from medlego.merge import DEFAULT_METHOD, METHODS, find_method, resolve_coefficients


def delta(rank: int, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank.from_factors(
        torch.randn(9, rank, generator=generator), torch.randn(rank, 8, generator=generator)
    )


def needed(name: str, count: int) -> dict[str, Any]:
    """What a method takes besides deltas, coefficients and rank."""
    grams = [{"t": make_gram(8, 2, seed)} for seed in range(count)]
    return {"grams": grams} if METHODS[name].needs_grams else {}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_auto_keeps_the_norm_of_orthogonal_deltas(count: int) -> None:
    resolved = resolve_coefficients("auto", count)
    assert len(resolved) == count
    assert math.hypot(*resolved) == pytest.approx(1.0, rel=1e-12)


def test_auto_for_one_brick_is_one() -> None:
    assert resolve_coefficients("auto", 1) == (1.0,)


@pytest.mark.parametrize("number", [0.3, 1, -2.0, 0])
def test_one_number_goes_to_every_brick(number: float) -> None:
    assert resolve_coefficients(number, 3) == (float(number),) * 3


@pytest.mark.parametrize("given", [[1, 2.5], (1, 2.5), np.array([1, 2.5])])
def test_one_number_per_brick_is_kept_as_floats(given: object) -> None:
    resolved = resolve_coefficients(given, 2)  # type: ignore[arg-type]
    assert resolved == (1.0, 2.5)
    assert all(type(c) is float for c in resolved)


@pytest.mark.parametrize("given", [[], [1.0], [1.0, 2.0, 3.0]])
def test_wrong_count_is_refused(given: list[float]) -> None:
    with pytest.raises(MergeError, match=f"one per brick \\(2\\).*got {len(given)}"):
        resolve_coefficients(given, 2)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(MergeError, match="expected finite numbers"):
        resolve_coefficients([1.0, number], 2)


@pytest.mark.parametrize("word", ["", "Auto", "search", "0.5"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(MergeError, match="expected 'auto' or numbers"):
        resolve_coefficients(word, 2)


def test_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(MergeError, match=f"expected one of {', '.join(METHODS)}, got 'median'"):
        find_method("median")


def test_default_method_is_in_the_table() -> None:
    assert find_method(DEFAULT_METHOD) is METHODS[DEFAULT_METHOD]


def test_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["linear"]  # type: ignore[index]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("rank", [0, -3])
def test_rank_below_one_is_refused(name: str, rank: int) -> None:
    with pytest.raises(MergeError, match="rank: expected at least 1"):
        METHODS[name].merge([{"t": delta(2)}], [1.0], rank, **needed(name, 1))


@pytest.mark.parametrize("name", METHODS)
def test_short_list_of_coefficients_is_refused(name: str) -> None:
    vectors = [{"t": delta(2)}, {"t": delta(2, 1)}]
    with pytest.raises(ValueError, match="shorter"):
        METHODS[name].merge(vectors, [1.0], None, **needed(name, 2))


def test_linear_keeps_the_sum_of_ranks_and_loses_nothing() -> None:
    merged = METHODS["linear"].merge([{"t": delta(2)}, {"t": delta(3, 1)}], [1.0, 0.5], None)
    assert merged.deltas["t"].rank == 5
    assert merged.losses == {"t": 0.0}


def test_lego_keeps_the_largest_bricks_rank() -> None:
    merged = METHODS["lego"].merge([{"t": delta(2)}, {"t": delta(3, 1)}], [1.0, 0.5], None)
    assert merged.deltas["t"].rank == 3


def test_relative_loss_of_a_zero_merge_is_zero() -> None:
    merged = METHODS["lego"].merge([{"t": delta(2)}, {"t": delta(2, 1)}], [0.0, 0.0], 1)
    assert merged.relative_loss == 0.0


def test_assemble_takes_an_array_and_records_it_as_given() -> None:
    base = make_base()
    bricks = [make_brick(name, seed, base=base) for seed, name in enumerate("ab")]
    recipe = assemble(bricks, coefficients=np.array([0.5, 2.0])).recipe  # type: ignore[arg-type]
    assert recipe.coefficients == "given"
    assert [item.coefficient for item in recipe.bricks] == [0.5, 2.0]


def test_assemble_records_that_coefficients_were_auto() -> None:
    assert assemble([make_brick()]).recipe.coefficients == "auto"
