"""RegMean in an assembly: which bricks it takes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from factories import make_base, make_brick, make_gram, with_grams
from medlego.bricks import Brick, LowRank
from medlego.errors import MergeError
from medlego.generalist import Generalist, assemble
from medlego.merge import METHODS

BASE = make_base()
FIRST = with_grams(make_brick("first", seed=1, base=BASE), seed=1)
SECOND = with_grams(make_brick("second", seed=2, base=BASE), seed=11)


def dense(generalist: Generalist) -> dict[str, torch.Tensor]:
    return {name: delta.dense() for name, delta in generalist.deltas.items()}


def delta(seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank.from_factors(
        torch.randn(9, 2, generator=generator), torch.randn(2, 8, generator=generator)
    )


def without_grams(brick: Brick) -> Brick:
    return replace(brick, grams={})


def test_bricks_without_grams_are_named_in_one_error() -> None:
    bricks = [without_grams(FIRST), with_grams(make_brick("third", seed=3, base=BASE))]
    bricks.append(without_grams(SECOND))
    with pytest.raises(
        MergeError, match=r"Grams, got none in first, second; retrain with --gram 8$"
    ):
        assemble(bricks, "regmean")


def test_lacking_grams_stand_beside_other_problems() -> None:
    with pytest.raises(MergeError, match=r"(?s)rank: expected at least 1.*got none in first"):
        assemble([without_grams(FIRST)], "regmean", rank=0)


def test_other_methods_take_bricks_with_and_without_grams() -> None:
    with_some, without = assemble([FIRST, without_grams(SECOND)]), [FIRST, SECOND]
    expected = dense(assemble([without_grams(brick) for brick in without]))
    for name, matrix in dense(with_some).items():
        assert torch.equal(matrix, expected[name])


def test_one_brick_is_itself_whatever_its_coefficient() -> None:
    for coefficient in (1.0, 0.2):
        merged = dense(assemble([FIRST], "regmean", coefficients=coefficient))
        for name, expected in FIRST.deltas.items():
            torch.testing.assert_close(merged[name], expected.dense(), rtol=0, atol=1e-6)


def test_auto_is_the_same_as_any_equal_coefficients() -> None:
    auto = dense(assemble([FIRST, SECOND], "regmean"))
    ones = dense(assemble([FIRST, SECOND], "regmean", coefficients=1.0))
    for name, matrix in auto.items():
        torch.testing.assert_close(matrix, ones[name], rtol=0, atol=1e-6)


def test_settings_are_kept_in_the_recipe() -> None:
    recipe = assemble([FIRST, SECOND], "regmean").recipe
    assert recipe.settings == {"shrink": 0.1}
    assert recipe.coefficients == "auto"


@pytest.mark.parametrize("shrink", [-0.1, 1.1])
def test_shrink_out_of_range_is_refused(shrink: float) -> None:
    with pytest.raises(MergeError, match=r"'regmean': shrink: expected at (least|most)"):
        assemble([FIRST, SECOND], "regmean", settings={"shrink": shrink})


def test_zero_coefficients_change_nothing() -> None:
    generalist = assemble([FIRST, SECOND], "regmean", coefficients=0.0)
    assert max(delta.norm() for delta in generalist.deltas.values()) == 0


@pytest.mark.parametrize("coefficients", [(-1.0, -1.0), (1.0, -1.5), (0.5, -0.5)])
def test_coefficients_that_leave_no_definite_sum_are_refused(
    coefficients: tuple[float, float],
) -> None:
    with pytest.raises(
        MergeError,
        match=r"^blocks\.0\.attn\.q: expected a positive definite Σ c G, got .*; give coefficients",
    ):
        assemble([FIRST, SECOND], "regmean", coefficients=coefficients)


def test_a_gram_that_says_nothing_of_a_direction_needs_shrinking() -> None:
    gram = replace(make_gram(8, 2), rest=torch.zeros(1))
    merge = METHODS["regmean"]
    with pytest.raises(MergeError, match="or a larger shrink"):
        merge([{"t": delta()}], [1.0], settings={"shrink": 0.0}, grams=[{"t": gram}])
    merged = merge([{"t": delta()}], [1.0], grams=[{"t": gram}])
    torch.testing.assert_close(merged.deltas["t"].dense(), delta().dense(), rtol=0, atol=1e-5)


def test_a_call_without_grams_is_refused() -> None:
    with pytest.raises(MergeError, match="method 'regmean': expected Grams of every brick"):
        METHODS["regmean"]([{"t": delta()}], [1.0])


def test_a_delta_without_its_gram_is_refused() -> None:
    with pytest.raises(MergeError, match=r"t: expected a Gram of each brick.*none of brick 2"):
        METHODS["regmean"]([{"t": delta()}] * 2, [1.0, 1.0], grams=[{"t": make_gram(8, 2)}, {}])


def test_a_gram_of_another_width_is_refused() -> None:
    with pytest.raises(MergeError, match="t: expected Grams of 8 inputs, got 9 of brick 1"):
        METHODS["regmean"]([{"t": delta()}], [1.0], grams=[{"t": make_gram(9, 2)}])


def test_a_brick_that_adapts_other_rows_of_a_module_counts_with_its_gram() -> None:
    keys = with_grams(make_brick("keys", seed=3, base=BASE, targets=("k",)), seed=21)
    alone = dense(assemble([FIRST], "regmean"))
    beside = dense(assemble([FIRST, keys], "regmean"))
    assert float(beside["blocks.0.attn.q"].norm()) < float(alone["blocks.0.attn.q"].norm())


def test_a_brick_that_leaves_a_block_alone_does_not_count_there() -> None:
    later = with_grams(make_brick("later", seed=3, base=BASE, stem=1), seed=21)
    beside = dense(assemble([FIRST, later], "regmean"))
    expected = FIRST.deltas["blocks.0.attn.q"].dense()
    torch.testing.assert_close(beside["blocks.0.attn.q"], expected, rtol=0, atol=1e-6)


def test_a_generalist_keeps_the_grams_of_its_bricks(tmp_path) -> None:
    generalist = assemble([FIRST, SECOND], "regmean")
    generalist.save(tmp_path / "g")
    loaded = Generalist.load(tmp_path / "g")
    assert [brick.digest for brick in loaded.bricks] == [FIRST.digest, SECOND.digest]
    again = assemble(loaded.bricks, "regmean")
    assert all(torch.equal(dense(again)[n], d) for n, d in dense(generalist).items())
