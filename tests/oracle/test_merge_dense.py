"""Factor algebra and merges against dense float64 formulas written with numpy alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medlego.bricks import LowRank, product_svd
from medlego.merge import METHODS
from medlego.support import one_thread

SHAPES = {"wide": (20, 48), "tall": (48, 20), "square": (32, 32), "small": (6, 5)}
RANKS = (4, 2, 3)
COEFFICIENTS = (0.7, -1.3, 0.4)
EXACT = 1e-6
"""Frobenius error of float32 factors, relative to the exact float64 result."""


def numpy_factors(shape: tuple[int, int], rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(shape[0], rank)), generator.normal(size=(rank, shape[1]))


def from_numpy(B: np.ndarray, A: np.ndarray, scale: float = 1.0) -> LowRank:
    return LowRank.from_factors(torch.from_numpy(B), torch.from_numpy(A), scale)


def numpy_dense(delta: LowRank) -> np.ndarray:
    U, S, Vh = (t.numpy().astype(np.float64) for t in (delta.U, delta.S, delta.Vh))
    return U @ np.diag(S) @ Vh


def best_approximation(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, float]:
    """Eckart and Young: the nearest matrix of that rank, and its distance."""
    U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] @ np.diag(S[:rank]) @ Vh[:rank], float(np.sqrt((S[rank:] ** 2).sum()))


def assert_near(actual: np.ndarray, expected: np.ndarray, rtol: float = EXACT) -> None:
    """Frobenius distance relative to the expected matrix's norm."""
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual - expected) <= rtol * np.linalg.norm(expected)


@pytest.fixture(scope="module")
def bricks() -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Three bricks of different ranks; the second lacks one target."""
    return [
        {
            name: numpy_factors(shape, rank, 10 * number + place)
            for place, (name, shape) in enumerate(SHAPES.items())
            if (number, name) != (1, "wide")
        }
        for number, rank in enumerate(RANKS)
    ]


@pytest.fixture(scope="module")
def dense_sums(bricks: list[dict[str, tuple[np.ndarray, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Σ c_t B_t A_t of every target."""
    sums = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for brick, coefficient in zip(bricks, COEFFICIENTS, strict=True):
        for name, (B, A) in brick.items():
            sums[name] += coefficient * (B @ A)
    return sums


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("rank", [1, 4, 5, 40])
def test_from_factors_is_the_scaled_product(shape: tuple[int, int], rank: int) -> None:
    B, A = numpy_factors(shape, rank, seed=rank)
    assert_near(numpy_dense(from_numpy(B, A, scale=-2.5)), -2.5 * (B @ A))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_from_factors_has_numpys_singular_values(shape: tuple[int, int]) -> None:
    B, A = numpy_factors(shape, 4, seed=1)
    expected = np.linalg.svd(B @ A, compute_uv=False)[:4]
    np.testing.assert_allclose(from_numpy(B, A).S.numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_truncate_is_the_best_approximation(rank: int) -> None:
    B, A = numpy_factors((20, 48), 4, seed=2)
    expected, _ = best_approximation(B @ A, rank)
    assert_near(numpy_dense(from_numpy(B, A).truncate(rank)[0]), expected)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_truncate_reports_the_distance(rank: int) -> None:
    B, A = numpy_factors((20, 48), 4, seed=3)
    _, expected = best_approximation(B @ A, rank)
    assert from_numpy(B, A).truncate(rank)[1] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("rank", [1, 4, 5, 6, 19, 20, 50])
def test_product_svd_is_an_svd_of_the_product(shape: tuple[int, int], rank: int) -> None:
    left, right = numpy_factors(shape, rank, seed=4)
    U, S, Vh = (t.numpy() for t in product_svd(torch.from_numpy(left), torch.from_numpy(right)))
    count = min(rank, *shape)
    np.testing.assert_allclose(U @ np.diag(S) @ Vh, left @ right, rtol=0, atol=1e-11)
    np.testing.assert_allclose(U.T @ U, np.eye(count), rtol=0, atol=1e-13)
    np.testing.assert_allclose(Vh @ Vh.T, np.eye(count), rtol=0, atol=1e-13)
    expected = np.linalg.svd(left @ right, compute_uv=False)[:count]
    np.testing.assert_allclose(S, expected, rtol=1e-12, atol=0)


def test_product_svd_in_float32_is_exact_and_orthonormal_at_vit_width() -> None:
    left, right = (f.astype(np.float32) for f in numpy_factors((768, 768), 32, seed=5))
    U, S, Vh = (
        t.numpy().astype(np.float64)
        for t in product_svd(torch.from_numpy(left), torch.from_numpy(right))
    )
    assert_near(U @ np.diag(S) @ Vh, left.astype(np.float64) @ right.astype(np.float64))
    np.testing.assert_allclose(U.T @ U, np.eye(32), rtol=0, atol=1e-5)
    np.testing.assert_allclose(Vh @ Vh.T, np.eye(32), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_linear_is_the_dense_weighted_sum(
    bricks: list[dict[str, tuple[np.ndarray, np.ndarray]]],
    dense_sums: dict[str, np.ndarray],
    name: str,
) -> None:
    vectors = [{n: from_numpy(*f) for n, f in brick.items()} for brick in bricks]
    with one_thread():
        merged = METHODS["linear"].merge(vectors, COEFFICIENTS, None)
    assert_near(numpy_dense(merged.deltas[name]), dense_sums[name])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rank", [None, 1, 2, 4])
def test_lego_is_the_best_approximation_of_the_dense_sum(
    bricks: list[dict[str, tuple[np.ndarray, np.ndarray]]],
    dense_sums: dict[str, np.ndarray],
    name: str,
    rank: int | None,
) -> None:
    vectors = [{n: from_numpy(*f) for n, f in brick.items()} for brick in bricks]
    with one_thread():
        merged = METHODS["lego"].merge(vectors, COEFFICIENTS, rank)
    expected, loss = best_approximation(dense_sums[name], rank or max(RANKS))
    assert_near(numpy_dense(merged.deltas[name]), expected, rtol=5e-6)
    assert merged.losses[name] == pytest.approx(loss, rel=1e-5)
