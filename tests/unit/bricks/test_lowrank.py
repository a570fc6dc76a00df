"""What LowRank promises about form, cuts and refusals; values are the oracle's business."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor

from medlego.bricks import LowRank, canonical_problems, fix_signs, product_svd, weighted_sum
from medlego.errors import BrickError, MergeError


def factors(out: int = 7, inside: int = 5, rank: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(out, rank, generator=generator),
        torch.randn(rank, inside, generator=generator),
    )


@pytest.fixture
def delta() -> LowRank:
    return LowRank.from_factors(*factors())


def diagonal(*values: float) -> LowRank:
    """A delta whose singular values are what they look like."""
    rank = len(values)
    return LowRank(torch.eye(6, rank), torch.tensor(values), torch.eye(rank, 6))


def test_shape_is_out_by_in(delta: LowRank) -> None:
    assert delta.shape == (7, 5)


def test_rank_counts_zero_singular_values() -> None:
    assert diagonal(2.0, 0.0).rank == 2


def test_parameters_count_singular_values_too(delta: LowRank) -> None:
    assert delta.parameters == (7 + 5 + 1) * 3


def test_delta_is_frozen(delta: LowRank) -> None:
    with pytest.raises(FrozenInstanceError):
        delta.S = torch.zeros(3)  # type: ignore[misc]


def test_norm_is_frobenius() -> None:
    assert diagonal(4.0, 3.0).norm() == 5.0


def test_norm_of_tiny_values_does_not_underflow() -> None:
    assert diagonal(4e-30, 3e-30).norm() == pytest.approx(5e-30, rel=1e-6)


def test_from_factors_is_float32_whatever_came_in() -> None:
    B, A = factors()
    delta = LowRank.from_factors(B.double(), A.double())
    assert {delta.U.dtype, delta.S.dtype, delta.Vh.dtype} == {torch.float32}


def test_from_factors_is_canonical(delta: LowRank) -> None:
    assert canonical_problems(delta) == []


def test_from_factors_of_zeros_is_canonical() -> None:
    assert canonical_problems(LowRank.from_factors(torch.zeros(7, 3), torch.zeros(3, 5))) == []


def test_from_factors_keeps_no_more_than_full_rank() -> None:
    assert LowRank.from_factors(*factors(rank=9)).rank == 5


def test_largest_entry_of_each_column_of_u_is_positive(delta: LowRank) -> None:
    largest = delta.U.abs().argmax(dim=0)
    assert (delta.U[largest, torch.arange(3)] > 0).all()


def test_of_equal_largest_entries_the_first_is_positive() -> None:
    U = torch.tensor([[0.0, 1.0], [-2.0, 3.0], [2.0, -3.0]])
    fixed = fix_signs(U, torch.ones(2), torch.eye(2))
    assert fixed.U.T.tolist() == [[0.0, 2.0, -2.0], [1.0, 3.0, -3.0]]
    assert fixed.Vh.tolist() == [[-1.0, 0.0], [0.0, 1.0]]


def test_negative_scale_lands_in_the_directions() -> None:
    B, A = factors()
    expected = -LowRank.from_factors(B, A).dense()
    actual = LowRank.from_factors(B, A, -1.0).dense()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("B", "A"),
    [
        (torch.ones(7, 3), torch.ones(2, 5)),
        (torch.ones(7), torch.ones(7, 5)),
        (torch.ones(7, 3), torch.ones(3, 5, 1)),
        (torch.ones(7, 0), torch.ones(0, 5)),
    ],
    ids=["unchained", "vector", "three-dimensional", "no-rank"],
)
def test_from_factors_refuses_shapes_that_do_not_chain(B: Tensor, A: Tensor) -> None:
    with pytest.raises(BrickError, match="factors: expected \\(out, rank\\)"):
        LowRank.from_factors(B, A)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["B", "A", "scale"])
def test_from_factors_refuses_what_is_not_finite(place: str, value: float) -> None:
    arguments: dict[str, Any] = {"B": torch.ones(7, 3), "A": torch.ones(3, 5), "scale": 1.0}
    arguments[place] = value * torch.ones_like(arguments[place]) if place != "scale" else value
    with pytest.raises(BrickError, match="expected finite numbers"):
        LowRank.from_factors(arguments["B"], arguments["A"], arguments["scale"])


def test_from_factors_refuses_a_product_beyond_float32() -> None:
    with pytest.raises(BrickError, match="float32"):
        LowRank.from_factors(torch.full((7, 3), 1e30), torch.full((3, 5), 1e30))


def test_from_factors_does_not_change_its_arguments() -> None:
    B, A = factors()
    before = B.clone(), A.clone()
    LowRank.from_factors(B, A, 3.0)
    assert torch.equal(B, before[0])
    assert torch.equal(A, before[1])


def test_truncate_keeps_the_largest() -> None:
    assert diagonal(4.0, 3.0, 1.0).truncate(2)[0].S.tolist() == [4.0, 3.0]


def test_truncate_reports_the_norm_of_the_rest() -> None:
    assert diagonal(9.0, 4.0, 3.0).truncate(1)[1] == 5.0


def test_truncate_above_the_rank_loses_nothing(delta: LowRank) -> None:
    cut, lost = delta.truncate(10)
    assert lost == 0.0
    torch.testing.assert_close(cut.dense(), delta.dense(), rtol=0, atol=0)


def test_truncated_factors_do_not_share_memory_with_the_whole(delta: LowRank) -> None:
    cut, _ = delta.truncate(2)
    assert cut.U.untyped_storage().nbytes() == 7 * 2 * 4
    assert cut.S.untyped_storage().nbytes() == 2 * 4


@pytest.mark.parametrize("rank", [0, -1])
def test_truncate_refuses_no_rank(delta: LowRank, rank: int) -> None:
    with pytest.raises(MergeError, match="rank: expected at least 1"):
        delta.truncate(rank)


@pytest.mark.parametrize(("name", "factor"), [("U", "U"), ("S", "S"), ("Vh", "Vh")])
def test_not_finite_is_a_problem_of_that_factor(delta: LowRank, name: str, factor: str) -> None:
    parts = {"U": delta.U, "S": delta.S, "Vh": delta.Vh}
    parts[name] = parts[name] * float("nan")
    assert canonical_problems(LowRank(**parts)) == [
        f"{factor}: expected finite numbers, got NaN or infinity"
    ]


@pytest.mark.parametrize(
    "shapes",
    [
        ((6, 2), (3,), (2, 6)),
        ((6,), (1,), (1, 6)),
        ((6, 0), (0,), (0, 6)),
        ((6, 1), (1, 1), (1, 6)),
    ],
    ids=["ranks-differ", "vector", "no-rank", "matrix-of-values"],
)
def test_factors_that_do_not_chain_are_a_problem(shapes: tuple[tuple[int, ...], ...]) -> None:
    (problem,) = canonical_problems(LowRank(*(torch.ones(shape) for shape in shapes)))
    assert problem.startswith("shapes: expected (out, rank), (rank,) and (rank, in), got ")


def test_factors_beside_float32_are_a_problem(delta: LowRank) -> None:
    assert canonical_problems(LowRank(delta.U.double(), delta.S, delta.Vh)) == [
        "types: expected float32, got float32, float64"
    ]


@pytest.mark.parametrize("values", [(1.0, 2.0), (1.0, -0.5)], ids=["unsorted", "negative"])
def test_unsorted_or_negative_values_are_a_problem(values: tuple[float, ...]) -> None:
    assert canonical_problems(diagonal(*values)) == [
        "S: expected values from large to small, none below 0"
    ]


@pytest.mark.parametrize("name", ["U", "Vh"])
def test_directions_off_orthonormal_are_a_problem(name: str) -> None:
    sound = diagonal(2.0, 1.0)
    parts = {"U": sound.U, "S": sound.S, "Vh": sound.Vh}
    parts[name] = parts[name] * 1.01
    assert canonical_problems(LowRank(**parts)) == [
        f"{name}: expected orthonormal to 0.0001, off by 0.02"
    ]


def test_every_problem_is_listed() -> None:
    delta = LowRank(torch.ones(6, 2), torch.tensor([1.0, 2.0]), torch.ones(2, 6))
    assert len(canonical_problems(delta)) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [2, 9])
def test_product_svd_keeps_the_dtype(dtype: torch.dtype, rank: int) -> None:
    left, right = (f.to(dtype) for f in factors(rank=rank))
    assert {factor.dtype for factor in product_svd(left, right)} == {dtype}


@pytest.mark.parametrize("copies", [2, 3])
def test_sum_of_opposites_is_zero_to_rounding(delta: LowRank, copies: int) -> None:
    total = weighted_sum([delta, delta] * copies, [1.0, -1.0] * copies)
    assert total.norm() <= 1e-6 * delta.norm()


def test_sum_of_repeated_directions_is_canonical(delta: LowRank) -> None:
    assert canonical_problems(weighted_sum([delta] * 4, [0.5, 0.0, -2.0, 1.0])) == []


def test_sum_has_the_sum_of_ranks_up_to_full_rank(delta: LowRank) -> None:
    low = LowRank.from_factors(*factors(rank=1, seed=1))
    assert weighted_sum([delta, low], [1.0, 1.0]).rank == 4
    assert weighted_sum([delta, delta], [1.0, 1.0]).rank == 5


def test_sum_beyond_float32_is_refused(delta: LowRank) -> None:
    with pytest.raises(MergeError, match="coefficients: expected a sum that float32 holds"):
        weighted_sum([delta, delta], [1.0, 1e39])


def test_sum_refuses_a_short_list_of_coefficients(delta: LowRank) -> None:
    with pytest.raises(ValueError, match="shorter"):
        weighted_sum([delta, delta], [1.0])
