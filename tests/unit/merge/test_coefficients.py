"""Which coefficients a merge takes, and what the methods do with a rank."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from factories import make_base, make_brick, make_bricks, make_gram
from medlego import assemble
from medlego.bricks import Brick, LowRank
from medlego.errors import MergeError
from medlego.merge import (
    DEFAULT_METHOD,
    METHODS,
    RULES,
    TaskVector,
    check_coefficients,
    find_method,
)


def delta(rank: int, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank.from_factors(
        torch.randn(9, rank, generator=generator), torch.randn(rank, 8, generator=generator)
    )


def needed(name: str, count: int) -> dict[str, Any]:
    """What a method takes besides deltas, coefficients and rank."""
    grams = [{"t": make_gram(8, 2, seed)} for seed in range(count)]
    return {"grams": grams} if METHODS[name].needs_grams else {}


def bricks(count: int) -> list[Brick]:
    return [make_brick(f"task-{n}", n, base=make_base()) for n in range(count)]


def coefficients_of(coefficients: object, count: int, method: str = "linear") -> list[float]:
    merged = assemble(bricks(count), method, coefficients=coefficients)  # type: ignore[arg-type]
    return [item.coefficient for item in merged.recipe.bricks]


def strength(deltas: TaskVector) -> float:
    return math.hypot(*(delta.norm() for delta in deltas.values()))


@pytest.mark.parametrize(("rule", "expected"), [("root", 5**-0.5), ("mean", 0.2), ("one", 1.0)])
def test_rules_that_only_count(rule: str, expected: float) -> None:
    assert coefficients_of(rule, 5) == pytest.approx([expected] * 5, rel=1e-12)


@pytest.mark.parametrize(
    ("method", "rule"), [("linear", "root"), ("tsv", "root"), ("ties", "norm"), ("iso-c", "norm")]
)
def test_auto_is_the_method_s_own_rule(method: str, rule: str) -> None:
    assert coefficients_of("auto", 3, method) == coefficients_of(rule, 3, method)
    other = {"root": "norm", "norm": "root"}[rule]
    assert coefficients_of("auto", 3, method) != coefficients_of(other, 3, method)


@pytest.mark.parametrize("method", ["linear", "lego", "ties", "core-ties", "tsv", "iso-c"])
def test_norm_makes_a_merge_as_strong_as_its_bricks(method: str) -> None:
    parts = bricks(3)
    merged = assemble(parts, method, coefficients="norm")
    wanted = math.sqrt(sum(strength(part.deltas) ** 2 for part in parts) / 3)
    assert strength(merged.deltas) == pytest.approx(wanted, rel=1e-4)


def test_norm_of_a_merge_that_is_nothing_is_one() -> None:
    first = bricks(1)[0]
    zero = {n: LowRank(d.U, torch.zeros_like(d.S), d.Vh) for n, d in first.deltas.items()}
    merged = assemble([replace(first, deltas=zero)], coefficients="norm")
    assert merged.recipe.bricks[0].coefficient == 1.0


@pytest.mark.parametrize("rule", ["auto", *RULES])
def test_every_rule_gives_one_brick_alone_its_full_strength(rule: str) -> None:
    assert coefficients_of(rule, 1) == pytest.approx([1.0], rel=1e-6)


@pytest.mark.parametrize("number", [0.3, 1, -2.0, 0])
def test_one_number_goes_to_every_brick(number: float) -> None:
    assert coefficients_of(number, 3) == [float(number)] * 3


@pytest.mark.parametrize("coefficients", [[1, 2.5], (1, 2.5), np.array([1, 2.5])])
def test_one_number_per_brick_is_kept_as_floats(coefficients: object) -> None:
    resolved = check_coefficients(coefficients, 2)  # type: ignore[arg-type]
    assert resolved == (1.0, 2.5)
    assert all(type(c) is float for c in resolved)


@pytest.mark.parametrize("coefficients", [[], [1.0], [1.0, 2.0, 3.0]])
def test_wrong_count_is_refused(coefficients: list[float]) -> None:
    with pytest.raises(MergeError, match=f"one per brick \\(2\\).*got {len(coefficients)}"):
        coefficients_of(coefficients, 2)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("several", [True, False])
def test_numbers_that_are_not_finite_are_refused(number: float, several: bool) -> None:
    with pytest.raises(MergeError, match="expected finite numbers"):
        coefficients_of([1.0, number] if several else number, 2)


@pytest.mark.parametrize("word", ["", "Auto", "search", "0.5", "given"])
def test_other_words_are_refused_and_the_rules_named(word: str) -> None:
    with pytest.raises(MergeError, match=f"expected auto, {', '.join(RULES)} or numbers"):
        coefficients_of(word, 2)


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
    bricks = make_bricks("ab", base)
    recipe = assemble(bricks, coefficients=np.array([0.5, 2.0])).recipe  # type: ignore[arg-type]
    assert recipe.coefficients == "given"
    assert [item.coefficient for item in recipe.bricks] == [0.5, 2.0]


def test_assemble_records_that_coefficients_were_auto() -> None:
    assert assemble([make_brick()]).recipe.coefficients == "auto"
