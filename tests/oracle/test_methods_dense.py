"""Merge methods against dense float64 formulas written with numpy alone, and against PEFT's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from peft.utils import merge_utils
from torch import Tensor

from medlego.bricks import Gram, LowRank
from medlego.merge import METHODS, calibrate_singular_values
from medlego.merge.methods.dare import draw_mask
from medlego.merge.methods.ties import trim as trim_of_package
from medlego.support import one_thread
from oracle.test_merge_dense import assert_near, from_numpy, numpy_dense, numpy_factors

SHAPES = {"wide": (20, 48), "tall": (48, 20), "square": (32, 32), "small": (6, 5)}
"""The last is narrower than the bricks' ranks together."""
RANKS = (4, 2, 3)
TOTAL_RANK = sum(RANKS)
COEFFICIENTS = {"positive": (0.7, 1.3, 0.4), "mixed": (0.7, -1.3, 0.4)}
NEAR = 5e-6
"""Frobenius error of float32 factors, relative to the exact float64 result."""
NUMERICAL_ZERO = 1e-6
"""Singular values below this part of the largest come from rounding."""

Matrices = list[np.ndarray]
Factors = list[tuple[np.ndarray, np.ndarray]]

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
each_sign = pytest.mark.parametrize("coefficients", COEFFICIENTS.values(), ids=COEFFICIENTS)


def draw_factors(shape: tuple[int, int], ranks: Sequence[int] = RANKS, seed: int = 0) -> Factors:
    """B (out, r) and A (r, in) of each brick."""
    return [numpy_factors(shape, r, 100 * seed + place) for place, r in enumerate(ranks)]


def shared_right_vectors() -> Factors:
    """Two bricks, (20, 48), with the same right factor."""
    (B, A), (other, _) = draw_factors((20, 48), ranks=[4, 4])
    return [(B, A), (other, A)]


def products(factors: Factors) -> Matrices:
    return [B @ A for B, A in factors]


def task_vectors(factors: Factors, target: str = "q") -> list[dict[str, LowRank]]:
    return [{target: from_numpy(B, A)} for B, A in factors]


def package(
    name: str,
    factors: Factors,
    coefficients: Sequence[float],
    seed: int = 0,
    target: str = "q",
    **settings: float,
) -> np.ndarray:
    """The package's merge of one target, dense."""
    with one_thread():
        merged = METHODS[name](
            task_vectors(factors, target), coefficients, None, settings=settings, seed=seed
        )
    return numpy_dense(merged.deltas[target])


def weighted_sum(matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    return sum(
        (c * D for c, D in zip(coefficients, matrices, strict=True)), np.zeros_like(matrices[0])
    )


def short_svd(matrix: np.ndarray, zero: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, S, Vh cut to the numerical rank; `zero` is what counts as nothing, at the least."""
    U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
    rank = int((max(NUMERICAL_ZERO * S[0], zero) < S).sum())
    return U[:, :rank], S[:rank], Vh[:rank]


def random_signs(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=size)


# --- ties ------------------------------------------------------------------------------------


def trim(matrix: np.ndarray, density: float) -> np.ndarray:
    count = max(1, int(density * matrix.size))
    order = np.argsort(-np.abs(matrix), axis=None, kind="stable")[:count]
    trimmed = np.zeros(matrix.size)
    trimmed[order] = matrix.reshape(-1)[order]
    return trimmed.reshape(matrix.shape)


def elect_and_average(matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    """Mean over the bricks whose entry has the sign of the unweighted sum, weights included."""
    elected = np.where(sum(matrices) >= 0, 1.0, -1.0)
    total, count = np.zeros_like(elected), np.zeros_like(elected)
    for c, D in zip(coefficients, matrices, strict=True):
        agrees = np.sign(D) == elected
        total += np.where(agrees, c * D, 0.0)
        count += agrees
    return total / np.maximum(count, 1)


def dense_ties(matrices: Matrices, coefficients: Sequence[float], density: float) -> np.ndarray:
    return elect_and_average([trim(D, density) for D in matrices], coefficients)


@each_shape
@each_sign
@pytest.mark.parametrize("density", [0.07, 0.2, 0.5, 1.0])
def test_ties_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], density: float
) -> None:
    factors = draw_factors(shape)
    expected = dense_ties(products(factors), coefficients, density)
    assert_near(package("ties", factors, coefficients, density=density), expected, rtol=NEAR)


def test_ties_keeps_a_fifth_by_default() -> None:
    factors = draw_factors((20, 48))
    expected = dense_ties(products(factors), (0.7, 1.3, 0.4), 0.2)
    assert_near(package("ties", factors, (0.7, 1.3, 0.4)), expected, rtol=NEAR)


def test_ties_keeps_the_largest_entry_at_the_least() -> None:
    (factors,) = draw_factors((20, 48), ranks=[3])
    D = factors[0] @ factors[1]
    expected = np.where(np.abs(D) == np.abs(D).max(), 0.7 * D, 0.0)
    assert_near(package("ties", [factors], [0.7], density=1e-9), expected, rtol=NEAR)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [1e-9, 0.07, 0.2, 0.5, 0.99, 1.0])
def test_trim_keeps_the_first_of_equal_entries(density: float, dtype: torch.dtype) -> None:
    matrices = np.random.default_rng(0).integers(-3, 4, size=(4, 20, 48)).astype(float)
    matrices[1], matrices[2], matrices[3, :, 5:] = 2.0, 0.0, 0.0
    expected = np.stack([trim(D, density) for D in matrices])
    actual = trim_of_package(torch.from_numpy(matrices).to(dtype), density)
    np.testing.assert_array_equal(actual.numpy(), expected)


def test_trim_leaves_its_argument_alone() -> None:
    matrices = torch.from_numpy(np.stack(products(draw_factors((20, 48)))))
    before = matrices.clone()
    trim_of_package(matrices, 0.2)
    assert torch.equal(matrices, before)


@each_shape
@each_sign
@pytest.mark.parametrize("density", [0.2, 0.5])
def test_ties_is_pefts(
    shape: tuple[int, int], coefficients: tuple[float, ...], density: float
) -> None:
    factors = draw_factors(shape)
    tensors = [torch.from_numpy(D) for D in products(factors)]
    weights = torch.tensor(coefficients, dtype=torch.float64)
    expected = merge_utils.ties(tensors, weights, density).numpy()
    assert_near(package("ties", factors, coefficients, density=density), expected, rtol=NEAR)


@each_shape
@each_sign
def test_untrimmed_ties_is_pefts(shape: tuple[int, int], coefficients: tuple[float, ...]) -> None:
    factors = draw_factors(shape)
    tensors = [torch.from_numpy(D) for D in products(factors)]
    with pytest.warns(UserWarning, match="no pruning"):
        expected = merge_utils.ties(tensors, torch.tensor(coefficients).double(), 1.0).numpy()
    assert_near(package("ties", factors, coefficients, density=1.0), expected, rtol=NEAR)


# --- dare ------------------------------------------------------------------------------------


def package_masks(stack: Matrices, drop: float, seed: int, target: str = "q") -> Tensor:
    return draw_mask(torch.from_numpy(np.stack(stack)), drop, f"{seed}:{target}")


def rescaled(matrices: Matrices, masks: Tensor, drop: float) -> Matrices:
    drawn = masks.double().numpy()
    return [D * mask / (1 - drop) for D, mask in zip(matrices, drawn, strict=True)]


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_masks_keep_the_stated_part_of_each_matrix(drop: float) -> None:
    masks = package_masks([np.zeros((200, 200))] * 3, drop, seed=0)
    shares = masks.double().mean(dim=(1, 2)).numpy()
    deviation = np.sqrt(drop * (1 - drop)) / 200
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert np.abs(shares - (1 - drop)).max() <= 4 * deviation


def test_masks_of_bricks_are_independent() -> None:
    masks = package_masks([np.zeros((200, 200))] * 3, 0.5, seed=0).double().reshape(3, -1)
    correlations = np.corrcoef(masks.numpy())[np.triu_indices(3, k=1)]
    assert np.abs(correlations).max() <= 4 / 200


@each_shape
@each_sign
@pytest.mark.parametrize(("drop", "seed"), [(0.0, 0), (0.3, 1), (0.5, 0), (0.9, 7)])
def test_dare_is_the_weighted_sum_of_the_rescaled(
    shape: tuple[int, int], coefficients: tuple[float, ...], drop: float, seed: int
) -> None:
    factors = draw_factors(shape)
    matrices = products(factors)
    masks = package_masks(matrices, drop, seed)
    expected = weighted_sum(rescaled(matrices, masks, drop), coefficients)
    assert_near(package("dare", factors, coefficients, seed, drop=drop), expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize(("drop", "seed"), [(0.0, 0), (0.3, 1), (0.5, 0), (0.9, 7)])
def test_dare_ties_elects_among_the_rescaled(
    shape: tuple[int, int], coefficients: tuple[float, ...], drop: float, seed: int
) -> None:
    factors = draw_factors(shape)
    matrices = products(factors)
    masks = package_masks(matrices, drop, seed)
    expected = elect_and_average(rescaled(matrices, masks, drop), coefficients)
    assert_near(package("dare-ties", factors, coefficients, seed, drop=drop), expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize(
    ("name", "peer"), [("dare", merge_utils.dare_linear), ("dare-ties", merge_utils.dare_ties)]
)
@pytest.mark.parametrize("drop", [0.5, 0.75])
def test_dare_is_pefts_on_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    coefficients: tuple[float, ...],
    name: str,
    peer: Callable[[list[Tensor], Tensor, float], Tensor],
    drop: float,
) -> None:
    factors = draw_factors(shape)
    matrices = products(factors)
    hand_out = iter(package_masks(matrices, drop, seed=3).double())
    tensors = [torch.from_numpy(D) for D in matrices]
    weights = torch.tensor(coefficients, dtype=torch.float64)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "bernoulli", lambda _: next(hand_out))
        expected = peer(tensors, weights, 1 - drop).numpy()
    assert list(hand_out) == []
    assert_near(package(name, factors, coefficients, seed=3, drop=drop), expected, rtol=NEAR)


@pytest.fixture(scope="module", params=[0.5, 0.8], ids="drop {}".format)
def mean_of_dare(request: pytest.FixtureRequest) -> tuple[np.ndarray, Matrices, float]:
    """The mean over seeds less the weighted sum, the weighted matrices, and the mean's variance
    for a matrix entry of one: drop / (1 − drop) / seeds."""
    factors, coefficients, drop, seeds = draw_factors((20, 48)), (0.7, 1.3, 0.4), request.param, 300
    results = [package("dare", factors, coefficients, seed, drop=drop) for seed in range(seeds)]
    weighted = [c * D for c, D in zip(coefficients, products(factors), strict=True)]
    return np.mean(results, axis=0) - sum(weighted), weighted, drop / (1 - drop) / seeds


def test_mean_of_dare_over_seeds_is_as_near_the_weighted_sum_as_of_independent_draws(
    mean_of_dare: tuple[np.ndarray, Matrices, float],
) -> None:
    error, weighted, variance = mean_of_dare
    expected = np.sqrt(variance * sum((D**2).sum() for D in weighted))
    assert 0.85 <= np.linalg.norm(error) / expected <= 1.15


def test_mean_of_dare_over_seeds_has_no_bias_along_the_weighted_sum(
    mean_of_dare: tuple[np.ndarray, Matrices, float],
) -> None:
    """Four deviations of the mean, 3 percent of the weighted sum at the most."""
    error, weighted, variance = mean_of_dare
    total = np.sum(weighted, axis=0)
    deviation = np.sqrt(variance * sum((D**2 * total**2).sum() for D in weighted))
    assert 4 * deviation <= 0.03 * (total**2).sum()
    assert abs((error * total).sum()) <= 4 * deviation


@pytest.mark.parametrize("name", ["dare", "dare-ties", "core-dare-ties"])
def test_same_seed_gives_the_same_merge(name: str) -> None:
    factors = draw_factors((20, 48))
    first, second = (package(name, factors, (0.7, 1.3, 0.4), 5, drop=0.5) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["dare", "dare-ties", "core-dare-ties"])
def test_different_seeds_give_different_merges(name: str) -> None:
    factors = draw_factors((20, 48))
    first, second = (package(name, factors, (0.7, 1.3, 0.4), seed, drop=0.5) for seed in (5, 6))
    assert np.linalg.norm(first - second) >= 0.1 * np.linalg.norm(first)


@pytest.mark.parametrize("name", ["dare", "dare-ties", "core-dare-ties"])
def test_targets_of_equal_matrices_get_different_draws(name: str) -> None:
    factors = draw_factors((20, 48))
    first, second = (
        package(name, factors, (0.7, 1.3, 0.4), target=target, drop=0.5) for target in ("q", "k")
    )
    assert np.linalg.norm(first - second) >= 0.1 * np.linalg.norm(first)


# --- core ------------------------------------------------------------------------------------


def core_bases(matrices: Matrices) -> tuple[np.ndarray, np.ndarray]:
    """Q_u (out, R) and Q_v (in, R), from important to unimportant, cut to the numerical rank."""
    parts = [short_svd(D) for D in matrices]
    left = np.hstack([U * np.sqrt(S) for U, S, _ in parts])
    right = np.vstack([np.sqrt(S)[:, None] * Vh for _, S, Vh in parts])
    return short_svd(left)[0], short_svd(right)[2].T


def dense_core_ties(
    matrices: Matrices,
    coefficients: Sequence[float],
    density: float,
    signs_seed: int | None = None,
) -> np.ndarray:
    Q_u, Q_v = core_bases(matrices)
    if signs_seed is not None:
        Q_u = Q_u * random_signs(Q_u.shape[1], signs_seed)
        Q_v = Q_v * random_signs(Q_v.shape[1], signs_seed + 1)
    cores = [Q_u.T @ D @ Q_v for D in matrices]
    return Q_u @ dense_ties(cores, coefficients, density) @ Q_v.T


def dense_core_dare_ties(
    matrices: Matrices,
    coefficients: Sequence[float],
    drop: float,
    seed: int,
    signs_seed: int | None = None,
) -> np.ndarray:
    Q_u, Q_v = core_bases(matrices)
    if signs_seed is not None:
        Q_u = Q_u * random_signs(Q_u.shape[1], signs_seed)
        Q_v = Q_v * random_signs(Q_v.shape[1], signs_seed + 1)
    cores = [Q_u.T @ D @ Q_v for D in matrices]
    sparse = rescaled(cores, package_masks(cores, drop, seed), drop)
    return Q_u @ elect_and_average(sparse, coefficients) @ Q_v.T


@each_shape
@each_sign
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_core_ties_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], density: float
) -> None:
    factors = draw_factors(shape)
    expected = dense_core_ties(products(factors), coefficients, density)
    assert_near(package("core-ties", factors, coefficients, density=density), expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize(("drop", "seed"), [(0.0, 0), (0.5, 0), (0.8, 7)])
def test_core_dare_ties_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], drop: float, seed: int
) -> None:
    factors = draw_factors(shape)
    expected = dense_core_dare_ties(products(factors), coefficients, drop, seed)
    actual = package("core-dare-ties", factors, coefficients, seed, drop=drop)
    assert_near(actual, expected, rtol=NEAR)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_core_ties_counts_entries_of_numerical_rank_only(density: float) -> None:
    """Two bricks share their right factor, so the core is 11 by 7 of 11 by 11."""
    factors = [*shared_right_vectors(), *draw_factors((20, 48), ranks=[3], seed=1)]
    expected = dense_core_ties(products(factors), (0.7, 1.3, 0.4), density)
    actual = package("core-ties", factors, (0.7, 1.3, 0.4), density=density)
    assert_near(actual, expected, rtol=NEAR)


def test_core_dare_ties_draws_for_entries_of_numerical_rank_only() -> None:
    factors = [*shared_right_vectors(), *draw_factors((20, 48), ranks=[3], seed=1)]
    expected = dense_core_dare_ties(products(factors), (0.7, 1.3, 0.4), 0.5, 0)
    actual = package("core-dare-ties", factors, (0.7, 1.3, 0.4), drop=0.5)
    assert_near(actual, expected, rtol=NEAR)


@pytest.mark.parametrize("signs_seed", [1, 2, 3])
def test_signs_of_the_core_bases_do_not_matter_to_ties(signs_seed: int) -> None:
    matrices = products(draw_factors((20, 48)))
    plain, flipped = (
        dense_core_ties(matrices, (0.7, -1.3, 0.4), 0.2, signs) for signs in (None, signs_seed)
    )
    assert_near(flipped, plain, rtol=1e-12)


@pytest.mark.parametrize("signs_seed", [1, 2, 3])
def test_signs_of_the_core_bases_do_not_matter_to_dare_ties(signs_seed: int) -> None:
    matrices = products(draw_factors((20, 48)))
    plain, flipped = (
        dense_core_dare_ties(matrices, (0.7, -1.3, 0.4), 0.5, 0, signs)
        for signs in (None, signs_seed)
    )
    assert_near(flipped, plain, rtol=1e-12)


# --- knots -----------------------------------------------------------------------------------


def dense_knots_ties(
    matrices: Matrices,
    coefficients: Sequence[float],
    density: float,
    signs_seed: int | None = None,
) -> np.ndarray:
    U, S, Vh = short_svd(np.hstack(matrices))
    if signs_seed is not None:
        signs = random_signs(len(S), signs_seed)
        U, Vh = U * signs, signs[:, None] * Vh
    aligned = np.split(S[:, None] * Vh, len(matrices), axis=1)
    return U @ dense_ties(aligned, coefficients, density)


@each_shape
@each_sign
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_knots_ties_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], density: float
) -> None:
    factors = draw_factors(shape)
    expected = dense_knots_ties(products(factors), coefficients, density)
    assert_near(package("knots-ties", factors, coefficients, density=density), expected, rtol=NEAR)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_knots_ties_counts_entries_of_numerical_rank_only(density: float) -> None:
    """Two bricks share their left factor, so the concatenation has rank 4 of 4 + 4 + 3."""
    (B, A), (_, other), third = draw_factors((20, 48), ranks=[4, 4, 3])
    factors = [(B, A), (B, other), third]
    expected = dense_knots_ties(products(factors), (0.7, 1.3, 0.4), density)
    actual = package("knots-ties", factors, (0.7, 1.3, 0.4), density=density)
    assert_near(actual, expected, rtol=NEAR)


@pytest.mark.parametrize("signs_seed", [1, 2, 3])
def test_signs_of_the_knots_basis_do_not_matter(signs_seed: int) -> None:
    matrices = products(draw_factors((20, 48)))
    plain, flipped = (
        dense_knots_ties(matrices, (0.7, -1.3, 0.4), 0.2, signs) for signs in (None, signs_seed)
    )
    assert_near(flipped, plain, rtol=1e-12)


# --- tsv and iso -----------------------------------------------------------------------------


def polar(matrix: np.ndarray) -> np.ndarray:
    """The nearest partial isometry of the same numerical rank; below full rank P Qᵀ is no one's."""
    P, _, Qh = short_svd(matrix)
    return P @ Qh


def dense_tsv(matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    parts = [short_svd(D) for D in matrices]
    strengths = np.concatenate([c * S for c, (_, S, _) in zip(coefficients, parts, strict=True)])
    left = polar(np.hstack([U for U, _, _ in parts]))
    right = polar(np.hstack([Vh.T for _, _, Vh in parts]))
    return left @ np.diag(strengths) @ right.T


def dense_iso_c(matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    U, S, Vh = short_svd(weighted_sum(matrices, coefficients))
    return S.mean() * U @ Vh


def dense_iso_cts(
    matrices: Matrices, coefficients: Sequence[float], each: int, signs_seed: int | None = None
) -> np.ndarray:
    """With `each` directions of every task, and the rest of the sum's."""
    U, S, Vh = short_svd(weighted_sum(matrices, coefficients))
    count = len(S) - each * len(matrices)
    left, values, right = [U[:, :count]], [S[:count]], [Vh[:count].T]
    outside = np.eye(U.shape[0]) - left[0] @ left[0].T
    for c, D in zip(coefficients, matrices, strict=True):
        own = short_svd(outside @ (c * D), zero=NUMERICAL_ZERO * float(np.linalg.norm(c * D)))
        left.append(own[0][:, :each])
        values.append(own[1][:each])
        right.append(own[2][:each].T)
    strengths = np.concatenate(values)
    signs = np.ones(len(strengths))
    if signs_seed is not None:
        signs = random_signs(len(strengths), signs_seed)
    joined = polar(np.hstack(left) * signs), polar(np.hstack(right) * signs)
    return strengths.mean() * joined[0] @ joined[1].T


@each_shape
@each_sign
def test_tsv_is_the_dense_formula(shape: tuple[int, int], coefficients: tuple[float, ...]) -> None:
    factors = draw_factors(shape)
    expected = dense_tsv(products(factors), coefficients)
    assert_near(package("tsv", factors, coefficients), expected, rtol=NEAR)


def test_tsv_of_bricks_with_shared_right_vectors_is_the_dense_formula() -> None:
    factors = shared_right_vectors()
    expected = dense_tsv(products(factors), (0.7, 1.3))
    assert_near(package("tsv", factors, (0.7, 1.3)), expected, rtol=NEAR)


@each_shape
@each_sign
def test_iso_c_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...]
) -> None:
    factors = draw_factors(shape)
    expected = dense_iso_c(products(factors), coefficients)
    assert_near(package("iso-c", factors, coefficients), expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize("rank", [1, 3])
def test_cut_iso_c_keeps_the_leading_directions_of_the_sum(
    shape: tuple[int, int], coefficients: tuple[float, ...], rank: int
) -> None:
    factors = draw_factors(shape)
    U, S, Vh = short_svd(weighted_sum(products(factors), coefficients))
    with one_thread():
        cut = METHODS["iso-c"](task_vectors(factors), coefficients, rank)
    expected = S.mean() * U[:, :rank] @ Vh[:rank]
    assert_near(numpy_dense(cut.deltas["q"]), expected, rtol=NEAR)


def test_iso_c_averages_over_the_numerical_rank_only() -> None:
    """Two bricks share both factors' spaces, so the sum has rank 4 of 4 + 4."""
    (B, A), (mix, _) = numpy_factors((20, 48), 4, seed=1), numpy_factors((4, 4), 4, seed=2)
    factors = [(B, A), (B @ mix, A)]
    expected = dense_iso_c(products(factors), (0.7, 1.3))
    assert_near(package("iso-c", factors, (0.7, 1.3)), expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize("common", [0.01, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_iso_cts_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], common: float
) -> None:
    factors = draw_factors(shape)
    whole = min(*shape, TOTAL_RANK)
    each = min(round((whole - int(common * whole)) / 3), whole // 3)
    if common < 1:
        each = max(each, 1)
    expected = dense_iso_cts(products(factors), coefficients, each)
    assert_near(package("iso-cts", factors, coefficients, common=common), expected, rtol=NEAR)


@pytest.mark.parametrize(
    ("rank", "tasks", "each"),
    [(4, 5, 1), (4, 3, 1), (4, 2, 1), (8, 5, 2), (9, 3, 2), (16, 2, 4), (2, 5, 1), (1, 5, 0)],
)
def test_iso_cts_gives_each_task_the_authors_number_of_directions_by_default(
    rank: int, tasks: int, each: int
) -> None:
    """By hand: round((R - int(0.8 R)) / tasks) of R = rank · tasks; rank 2 would have none."""
    factors = draw_factors((48, 64), ranks=[rank] * tasks)
    coefficients = np.linspace(0.5, 1.5, tasks).tolist()
    expected = dense_iso_cts(products(factors), coefficients, each)
    assert_near(package("iso-cts", factors, coefficients), expected, rtol=NEAR)


def test_iso_cts_with_all_in_common_is_iso_c() -> None:
    factors = draw_factors((20, 48))
    expected = package("iso-c", factors, (0.7, -1.3, 0.4))
    assert_near(package("iso-cts", factors, (0.7, -1.3, 0.4), common=1.0), expected, rtol=NEAR)


def test_iso_cts_takes_no_more_than_a_brick_has() -> None:
    factors = draw_factors((20, 48), ranks=[1, 8])
    expected = dense_iso_cts(products(factors), (0.7, 1.3), 4)
    assert np.linalg.matrix_rank(expected) == 1 + 1 + 4
    assert_near(package("iso-cts", factors, (0.7, 1.3), common=0.1), expected, rtol=NEAR)


def test_iso_cts_takes_nothing_of_a_brick_that_the_common_part_holds() -> None:
    """The strong brick of rank 1 is orthogonal to the other and lies in the common part."""
    rotation_out = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 4)))[0]
    rotation_in = np.linalg.qr(np.random.default_rng(2).normal(size=(48, 4)))[0].T
    weak = (rotation_out[:, 1:] * np.array([3.0, 2.0, 1.0]), rotation_in[1:])
    factors = [(9.0 * rotation_out[:, :1], rotation_in[:1]), weak]
    expected = dense_iso_cts(products(factors), (1.0, 1.0), 1)
    assert np.linalg.matrix_rank(expected) == 3
    assert_near(package("iso-cts", factors, (1.0, 1.0), common=0.5), expected, rtol=NEAR)


@pytest.mark.parametrize("signs_seed", [1, 2, 3])
def test_joint_signs_of_pairs_do_not_matter_to_iso_cts(signs_seed: int) -> None:
    matrices = products(draw_factors((20, 48)))
    plain, flipped = (
        dense_iso_cts(matrices, (0.7, -1.3, 0.4), 2, signs) for signs in (None, signs_seed)
    )
    assert_near(flipped, plain, rtol=1e-12)


# --- wudi ------------------------------------------------------------------------------------


def objective(D: np.ndarray, matrices: Matrices, coefficients: Sequence[float]) -> float:
    """Σ_t ‖(D − c_t D_t) D_tᵀ‖² / ‖D_t‖²."""
    return sum(
        float(np.linalg.norm((D - c * D_t) @ D_t.T) ** 2 / np.linalg.norm(D_t) ** 2)
        for c, D_t in zip(coefficients, matrices, strict=True)
    )


def gradient(D: np.ndarray, matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    return sum(
        (
            2 * (D - c * D_t) @ D_t.T @ D_t / np.linalg.norm(D_t) ** 2
            for c, D_t in zip(coefficients, matrices, strict=True)
        ),
        np.zeros_like(D),
    )


def steepness(matrices: Matrices) -> float:
    """Lipschitz constant of the gradient."""
    gram = sum(D_t.T @ D_t / np.linalg.norm(D_t) ** 2 for D_t in matrices)
    return float(2 * np.linalg.eigvalsh(gram)[-1])


def dense_wudi(matrices: Matrices, coefficients: Sequence[float]) -> np.ndarray:
    """Gradient descent from the weighted sum until nothing is left to gain."""
    D, steep = weighted_sum(matrices, coefficients), steepness(matrices)
    for _ in range(20000):
        slope = gradient(D, matrices, coefficients)
        D = D - slope / steep
        if np.linalg.norm(slope) <= 1e-12 * steep * np.linalg.norm(D):
            return D
    raise AssertionError("descent: expected to end")


def one_shared_right_vector() -> Factors:
    (B, A), (other, A_other) = draw_factors((20, 48), ranks=[4, 3])
    return [(B, A), (other, np.vstack([A[:1], A_other[1:]]))]


DEPENDENT = {"all shared": shared_right_vectors, "one shared": one_shared_right_vector}
each_dependent = pytest.mark.parametrize("draw", DEPENDENT.values(), ids=DEPENDENT)


@each_shape
@each_sign
def test_wudi_is_where_gradient_descent_ends(
    shape: tuple[int, int], coefficients: tuple[float, ...]
) -> None:
    factors = draw_factors(shape)
    expected = dense_wudi(products(factors), coefficients)
    assert_near(package("wudi", factors, coefficients), expected, rtol=NEAR)


@each_sign
@pytest.mark.parametrize("name", ["wide", "tall", "square"])
def test_wudi_does_to_each_bricks_inputs_what_the_brick_does(
    name: str, coefficients: tuple[float, ...]
) -> None:
    factors = draw_factors(SHAPES[name])
    merged = package("wudi", factors, coefficients)
    for c, D_t in zip(coefficients, products(factors), strict=True):
        U, S, Vh = short_svd(D_t)
        assert_near(merged @ Vh.T, c * U * S, rtol=NEAR)


@each_dependent
def test_wudi_of_dependent_bricks_is_where_gradient_descent_ends(
    draw: Callable[[], Factors],
) -> None:
    factors = draw()
    expected = dense_wudi(products(factors), (0.7, 1.3))
    assert_near(package("wudi", factors, (0.7, 1.3)), expected, rtol=NEAR)


@each_dependent
def test_wudi_of_dependent_bricks_reaches_the_least_objective(draw: Callable[[], Factors]) -> None:
    """The least from the normal equations D Σ D_tᵀ D_t / n² = Σ c_t D_t D_tᵀ D_t / n²."""
    factors, coefficients = draw(), (0.7, 1.3)
    matrices = products(factors)
    gram = sum(D.T @ D / np.linalg.norm(D) ** 2 for D in matrices)
    wanted = sum(
        c * D @ D.T @ D / np.linalg.norm(D) ** 2
        for c, D in zip(coefficients, matrices, strict=True)
    )
    least = objective(wanted @ np.linalg.pinv(gram, rcond=1e-10), matrices, coefficients)
    reached = objective(package("wudi", factors, coefficients), matrices, coefficients)
    at_start = objective(weighted_sum(matrices, coefficients), matrices, coefficients)
    assert abs(reached - least) <= 1e-9 * at_start


@each_dependent
def test_gradient_vanishes_at_wudi_of_dependent_bricks(draw: Callable[[], Factors]) -> None:
    factors, coefficients = draw(), (0.7, 1.3)
    matrices = products(factors)
    merged = package("wudi", factors, coefficients)
    slope = np.linalg.norm(gradient(merged, matrices, coefficients))
    assert slope <= 2e-6 * steepness(matrices) * np.linalg.norm(merged)


# --- lora-lego -------------------------------------------------------------------------------


def semantic_units(matrix: np.ndarray, coefficient: float) -> Matrices:
    """[√(|c| s) v ; sign(c) √(|c| s) u] with the largest entry of u positive."""
    U, S, Vh = short_svd(matrix)
    signs = np.sign(U[np.abs(U).argmax(axis=0), np.arange(len(S))])
    U, Vh = U * signs, signs[:, None] * Vh
    return [
        np.sqrt(abs(coefficient) * s) * np.concatenate([v, np.sign(coefficient) * u])
        for u, s, v in zip(U.T, S, Vh, strict=True)
    ]


def partitions(count: int, clusters: int, prefix: tuple[int, ...] = ()) -> Iterator[list[int]]:
    """Each way to put `count` units in exactly `clusters` clusters, once."""
    used = len(set(prefix))
    if len(prefix) == count:
        if used == clusters:
            yield list(prefix)
        return
    for label in range(min(used + 1, clusters)):
        yield from partitions(count, clusters, (*prefix, label))


def spread(units: Matrices, labels: list[int]) -> float:
    """Sum of squared distances from the centroids: what k-means makes small."""
    return sum(
        float(((members - members.mean(axis=0)) ** 2).sum())
        for members in (
            np.array([u for u, own in zip(units, labels, strict=True) if own == label])
            for label in set(labels)
        )
    )


def dense_of_clusters(units: Matrices, labels: list[int], inside: int) -> np.ndarray:
    """Each centroid, at the mean norm of its units, as an outer product; their sum."""
    total = np.zeros((len(units[0]) - inside, inside))
    for label in set(labels):
        members = np.array([u for u, own in zip(units, labels, strict=True) if own == label])
        centroid = members.mean(axis=0)
        centroid *= np.linalg.norm(members, axis=1).mean() / np.linalg.norm(centroid)
        total += np.outer(centroid[inside:], centroid[:inside])
    return total


def planted_factors(shape: tuple[int, int], bricks: int) -> Factors:
    """Bricks of rank 3 about 20 degrees off the same three directions."""
    generator = np.random.default_rng(4)
    strengths = np.array([9.0, 5.0, 2.5])
    dominant = 8 * np.eye(shape[0], 3)  # so that all bricks find the same entries largest
    U = np.linalg.qr(generator.normal(size=(shape[0], 3)) + dominant)[0]
    V = np.linalg.qr(generator.normal(size=(shape[1], 3)))[0]
    return [
        (
            (U + 0.25 * generator.normal(size=U.shape) / np.sqrt(shape[0])) * strengths,
            (V + 0.25 * generator.normal(size=V.shape) / np.sqrt(shape[1])).T,
        )
        for _ in range(bricks)
    ]


@each_shape
@each_sign
@pytest.mark.parametrize("clusters", [TOTAL_RANK, TOTAL_RANK + 3])
def test_lora_lego_with_a_cluster_for_each_unit_is_the_weighted_sum(
    shape: tuple[int, int], coefficients: tuple[float, ...], clusters: int
) -> None:
    factors = draw_factors(shape)
    expected = weighted_sum(products(factors), coefficients)
    actual = package("lora-lego", factors, coefficients, clusters=clusters)
    assert_near(actual, expected, rtol=NEAR)


@each_shape
@pytest.mark.parametrize("coefficient", [1.0, 0.7, -1.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lora_lego_of_a_brick_twice_is_the_brick_once(
    shape: tuple[int, int], coefficient: float, seed: int
) -> None:
    B, A = numpy_factors(shape, 3, seed=1)
    actual = package("lora-lego", [(B, A)] * 2, [coefficient] * 2, seed, clusters=3)
    assert_near(actual, coefficient * B @ A, rtol=NEAR)


@pytest.mark.parametrize("name", ["wide", "tall", "square"])
@pytest.mark.parametrize(
    "coefficients", [(1.0, 1.0), (0.7, 1.1), (-0.7, -1.1)], ids=["equal", "unequal", "negative"]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lora_lego_finds_planted_clusters(
    name: str, coefficients: tuple[float, ...], seed: int
) -> None:
    shape, factors = SHAPES[name], planted_factors(SHAPES[name], bricks=2)
    matrices = products(factors)
    units = [u for c, D in zip(coefficients, matrices, strict=True) for u in semantic_units(D, c)]
    best, second = sorted(partitions(6, 3), key=lambda labels: spread(units, labels))[:2]
    assert best == [0, 1, 2, 0, 1, 2]
    assert spread(units, second) >= 2 * spread(units, best)
    expected = dense_of_clusters(units, best, inside=shape[1])
    actual = package("lora-lego", factors, coefficients, seed, clusters=3)
    assert_near(actual, expected, rtol=NEAR)


@each_shape
@each_sign
@pytest.mark.parametrize("clusters", [1, 2, 4, None])
@pytest.mark.parametrize("seed", range(5))
def test_lora_lego_does_not_depend_on_the_signs_of_units_or_the_order_of_bricks(
    shape: tuple[int, int], coefficients: tuple[float, ...], clusters: int | None, seed: int
) -> None:
    vectors = task_vectors([*draw_factors(shape), *draw_factors(shape, ranks=[1, 3], seed=9)])
    numbers = [*coefficients, 1.0, 0.2]
    generator = np.random.default_rng(seed)
    flipped = []
    for place in (order := generator.permutation(len(vectors))):
        delta = vectors[place]["q"]
        signs = torch.from_numpy(random_signs(delta.rank, 10 * seed + place)).float()
        flipped.append({"q": LowRank(delta.U * signs, delta.S, delta.Vh * signs[:, None])})
    with one_thread():
        merge = partial(METHODS["lora-lego"], settings={"clusters": clusters})
        first = merge(vectors, numbers).deltas["q"]
        second = merge(flipped, [numbers[i] for i in order]).deltas["q"]
    for part in ("U", "S", "Vh"):
        assert torch.equal(getattr(first, part), getattr(second, part))


@pytest.mark.parametrize("width", [16, 48, 192])
@pytest.mark.parametrize("bricks", [2, 3])
def test_lora_lego_of_bricks_near_each_other_never_cancels(width: int, bricks: int) -> None:
    """At a cosine of 0.95 the largest entry, which fixes a unit's sign, often differs."""
    worst, differing = 1.0, 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        u, v = (generator.normal(size=width) for _ in range(2))
        factors = [(near(u, generator)[:, None], near(v, generator)[None]) for _ in range(bricks)]
        matrices = products(factors)
        tops = [semantic_units(D, 1.0)[0] for D in matrices]
        differing += any(top @ tops[0] < 0 for top in tops)
        merged, mean = package("lora-lego", factors, [1.0] * bricks), sum(matrices)
        cosine = (merged * mean).sum() / np.linalg.norm(merged) / np.linalg.norm(mean)
        worst = min(worst, float(cosine))
    assert worst > 0.98
    assert differing


def near(direction: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A unit vector whose cosine with the like of it is about 0.95."""
    noise = generator.normal(size=direction.shape)
    noise *= np.sqrt(1 / 0.95 - 1) * np.linalg.norm(direction) / np.linalg.norm(noise)
    return (direction + noise) / np.linalg.norm(direction + noise)


def test_lora_lego_of_a_brick_with_coefficient_zero_makes_no_cluster_more() -> None:
    small = [numpy_factors((12, 9), 2, seed) for seed in (0, 1)]
    large = numpy_factors((12, 9), 4, seed=2)
    actual = package("lora-lego", [*small, large], (1.0, 1.0, 0.0))
    assert_near(actual, package("lora-lego", small, (1.0, 1.0)), rtol=NEAR)


# --- regmean ---------------------------------------------------------------------------------

SHARES = {"equal": (1.0, 1.0, 1.0), "unequal": (0.7, 1.3, 0.4), "slightly negative": (1, 1, -0.01)}
each_share = pytest.mark.parametrize("coefficients", SHARES.values(), ids=SHARES)


def draw_inputs(inside: int, bricks: int = 3, tokens: int = 400) -> Matrices:
    """Each brick's inputs, (tokens, in): off centre, and stronger along some directions."""
    drawn = []
    for place in range(bricks):
        generator = np.random.default_rng(1000 + place)
        mix = generator.normal(size=(inside, inside)) / np.sqrt(inside) + np.eye(inside)
        drawn.append(generator.normal(size=(tokens, inside)) @ mix + generator.normal(size=inside))
    return drawn


def known_gram(X: np.ndarray, directions: int) -> np.ndarray:
    """XᵀX / n with all but its leading directions evened out."""
    G = X.T @ X / len(X)
    values, V = np.linalg.eigh(G)
    small = len(values) - directions
    if small:
        values[:small] = values[:small].mean()
    return (V * values) @ V.T


def shrunk(G: np.ndarray, shrink: float) -> np.ndarray:
    return (1 - shrink) * G + shrink * np.trace(G) / len(G) * np.eye(len(G))


def dense_regmean(
    matrices: Matrices, grams: Matrices, coefficients: Sequence[float], shrink: float
) -> np.ndarray:
    weighted = [c * shrunk(G, shrink) for c, G in zip(coefficients, grams, strict=True)]
    total = sum(
        (D @ G for D, G in zip(matrices, weighted, strict=True)), np.zeros_like(matrices[0])
    )
    return np.linalg.solve(sum(weighted), total.T).T


def gram_of(X: np.ndarray, directions: int) -> Gram:
    return Gram.of(torch.from_numpy(X.T @ X / len(X)), directions, images=50)


def package_regmean(
    factors: Factors,
    inputs: Matrices,
    coefficients: Sequence[float],
    directions: int,
    **settings: float,
) -> np.ndarray:
    grams = [{"q": gram_of(X, directions)} for X in inputs]
    with one_thread():
        merged = METHODS["regmean"](
            task_vectors(factors), coefficients, None, settings=settings, grams=grams
        )
    return numpy_dense(merged.deltas["q"])


@each_shape
@each_share
@pytest.mark.parametrize("directions", [1, 4, 48])
@pytest.mark.parametrize("shrink", [0.0, 0.1, 1.0])
def test_regmean_is_the_dense_formula(
    shape: tuple[int, int], coefficients: tuple[float, ...], directions: int, shrink: float
) -> None:
    factors, inputs = draw_factors(shape), draw_inputs(shape[1])
    directions = min(directions, shape[1])
    grams = [known_gram(X, directions) for X in inputs]
    expected = dense_regmean(products(factors), grams, coefficients, shrink)
    actual = package_regmean(factors, inputs, coefficients, directions, shrink=shrink)
    assert_near(actual, expected, rtol=NEAR)


def test_regmean_spreads_a_tenth_of_each_gram_by_default() -> None:
    factors, inputs = draw_factors((20, 48)), draw_inputs(48)
    expected = package_regmean(factors, inputs, (0.7, 1.3, 0.4), 4, shrink=0.1)
    assert_near(package_regmean(factors, inputs, (0.7, 1.3, 0.4), 4), expected, rtol=1e-12)


@each_shape
def test_regmean_of_whole_grams_is_least_squares_over_all_inputs(shape: tuple[int, int]) -> None:
    """√c_t X_t ΔWᵀ ≈ √c_t X_t ΔW_tᵀ, solved by numpy without a Gram matrix."""
    coefficients = (0.7, 1.3, 0.4)
    factors, inputs = draw_factors(shape), draw_inputs(shape[1])
    scaled = [np.sqrt(c) * X for c, X in zip(coefficients, inputs, strict=True)]
    wanted = [X @ D.T for X, D in zip(scaled, products(factors), strict=True)]
    expected = np.linalg.lstsq(np.vstack(scaled), np.vstack(wanted), rcond=None)[0].T
    actual = package_regmean(factors, inputs, coefficients, shape[1], shrink=0.0)
    assert_near(actual, expected, rtol=NEAR)


def test_regmean_of_inputs_that_share_no_direction_is_each_brick_on_its_own_inputs() -> None:
    factors = draw_factors((20, 48), ranks=[4, 3])
    inputs = draw_inputs(48, bricks=2)
    inputs[0][:, 24:], inputs[1][:, :24] = 0, 0
    merged = package_regmean(factors, inputs, (1.0, 0.2), 48, shrink=0.0)
    for X, D in zip(inputs, products(factors), strict=True):
        assert_near(X @ merged.T, X @ D.T, rtol=NEAR)


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 0.5, 40.0, 1e300])
def test_regmean_is_the_same_for_coefficients_of_one_ratio(factor: float) -> None:
    factors, inputs = draw_factors((20, 48)), draw_inputs(48)
    expected = package_regmean(factors, inputs, (0.7, 1.3, 0.4), 4)
    scaled = [factor * c for c in (0.7, 1.3, 0.4)]
    assert_near(package_regmean(factors, inputs, scaled, 4), expected, rtol=NEAR)


@pytest.mark.parametrize("directions", [4, 48])
def test_regmean_counts_the_gram_of_a_brick_without_the_target(directions: int) -> None:
    factors, inputs = draw_factors((20, 48)), draw_inputs(48)
    vectors = task_vectors(factors)
    vectors[1] = {"other": vectors[1]["q"]}
    grams = [{"q": gram_of(X, directions), "other": gram_of(X, directions)} for X in inputs]
    with one_thread():
        merged = METHODS["regmean"](vectors, (0.7, 1.3, 0.4), None, grams=grams)
    matrices = products(factors)
    matrices[1] = np.zeros_like(matrices[1])
    known = [known_gram(X, directions) for X in inputs]
    expected = dense_regmean(matrices, known, (0.7, 1.3, 0.4), 0.1)
    assert_near(numpy_dense(merged.deltas["q"]), expected, rtol=NEAR)


# --- a brick that lacks the target ------------------------------------------------------------

WITHOUT_DRAWS: dict[str, tuple[Callable[..., np.ndarray], dict[str, float]]] = {
    "ties": (dense_ties, {"density": 0.5}),
    "core-ties": (dense_core_ties, {"density": 0.5}),
    "knots-ties": (dense_knots_ties, {"density": 0.5}),
    "tsv": (dense_tsv, {}),
    "iso-c": (dense_iso_c, {}),
    "wudi": (dense_wudi, {}),
}


@pytest.mark.parametrize("name", WITHOUT_DRAWS)
def test_a_brick_without_the_target_does_not_count(name: str) -> None:
    oracle, settings = WITHOUT_DRAWS[name]
    factors = draw_factors((20, 48))
    vectors = task_vectors(factors)
    vectors[1] = {"other": vectors[1]["q"]}
    with one_thread():
        merged = METHODS[name](vectors, (0.7, 1.3, 0.4), None, settings=settings)
    first, _, last = products(factors)
    expected = oracle([first, last], (0.7, 0.4), **settings)
    assert_near(numpy_dense(merged.deltas["q"]), expected, rtol=NEAR)


# --- svc -------------------------------------------------------------------------------------


def dense_calibrated(
    U: np.ndarray,
    S: np.ndarray,
    Vh: np.ndarray,
    matrices: Matrices,
    coefficients: Sequence[float],
    floor: float,
) -> np.ndarray:
    merged, calibrated = (U * S) @ Vh, np.zeros((U.shape[0], Vh.shape[1]))
    for u, s, v in zip(U.T, S, Vh, strict=True):
        counted = []
        for c, D in zip(coefficients, matrices, strict=True):
            own = u @ (c * D)
            if np.linalg.norm(own) > NUMERICAL_ZERO * np.linalg.norm(c * D):
                counted.append(max(floor, (u @ merged) @ own / (own @ own)))
        calibrated += s / (np.mean(counted) if counted else 1.0) * np.outer(u, v)
    return calibrated


def calibration(
    name: str, factors: Factors, coefficients: Sequence[float], floor: float, rank: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The package's calibrated merge and the oracle's of the same merge, dense."""
    vectors = task_vectors(factors)
    with one_thread():
        merged = METHODS[name](vectors, coefficients, rank)
        actual = calibrate_singular_values(merged, vectors, coefficients, floor=floor)
    delta = merged.deltas["q"]
    U, S, Vh = (f.double().numpy() for f in (delta.U, delta.S, delta.Vh))
    expected = dense_calibrated(U, S, Vh, products(factors), coefficients, floor)
    return numpy_dense(actual.deltas["q"]), expected


@each_shape
@each_sign
@pytest.mark.parametrize(("name", "rank"), [("linear", None), ("lego", 2), ("tsv", None)])
@pytest.mark.parametrize("floor", [0.1, 0.6])
def test_calibration_is_the_dense_formula(
    shape: tuple[int, int],
    coefficients: tuple[float, ...],
    name: str,
    rank: int | None,
    floor: float,
) -> None:
    actual, expected = calibration(name, draw_factors(shape), coefficients, floor, rank)
    assert_near(actual, expected, rtol=NEAR)


def test_calibration_floors_at_a_tenth_by_default() -> None:
    """10 − 9 = 1 along one direction: s is 0.1 and −1/9, so 1 becomes 2 / 0.2."""
    u, v = np.eye(20)[:, :1], np.eye(48)[:1]
    vectors = task_vectors([(10 * u, v), (-9 * u, v)])
    with one_thread():
        merged = METHODS["linear"](vectors, (1.0, 1.0), 1)
        calibrated = calibrate_singular_values(merged, vectors, (1.0, 1.0))
    assert_near(numpy_dense(calibrated.deltas["q"]), 10 * u @ v, rtol=NEAR)


@pytest.mark.parametrize("coefficients", [(0.7, 1.3), (0.7, -1.3)])
def test_calibration_leaves_bricks_that_share_no_direction(
    coefficients: tuple[float, ...],
) -> None:
    out = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 5)))[0]
    inside = np.linalg.qr(np.random.default_rng(2).normal(size=(48, 5)))[0].T
    strong = out * np.array([9.0, 6.0, 4.0, 2.0, 1.0])
    factors = [(strong[:, :3], inside[:3]), (strong[:, 3:], inside[3:])]
    actual, expected = calibration("linear", factors, coefficients, 0.1, None)
    assert_near(expected, weighted_sum(products(factors), coefficients), rtol=1e-6)
    assert_near(actual, expected, rtol=NEAR)


def test_calibration_leaves_a_brick_with_coefficient_zero_out() -> None:
    factors = draw_factors((20, 48))
    with_it, expected = calibration("linear", factors, (0.7, 0.0, 0.4), 0.1, None)
    without, _ = calibration("linear", [factors[0], factors[2]], (0.7, 0.4), 0.1, None)
    assert_near(with_it, expected, rtol=NEAR)
    assert_near(with_it, without, rtol=NEAR)
