"""Gram matrices kept short: what is kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from factories import make_gram
from medlego.bricks import Gram
from medlego.bricks.gram import gram_problems

INPUTS = np.random.default_rng(0).normal(size=(200, 9)) @ np.diag(np.linspace(0.1, 3, 9)) + 0.5
MOMENT = INPUTS.T @ INPUTS / len(INPUTS)


def restored(gram: Gram) -> np.ndarray:
    V = gram.vectors.double().numpy()
    whole = (V * gram.values.double().numpy()) @ V.T
    return whole + float(gram.rest) * (np.eye(len(V)) - V @ V.T)


@pytest.mark.parametrize("directions", [1, 4, 8, 9, 30])
def test_leading_directions_are_kept_and_the_rest_is_evened_out(directions: int) -> None:
    values, vectors = np.linalg.eigh(MOMENT)
    small = max(0, 9 - directions)
    values[:small] = values[:small].mean() if small else 0
    gram = Gram.of(torch.from_numpy(MOMENT), directions, 200)
    assert gram.directions == min(directions, 9)
    np.testing.assert_allclose(restored(gram), (vectors * values) @ vectors.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("directions", [1, 4, 9])
def test_trace_is_kept(directions: int) -> None:
    gram = Gram.of(torch.from_numpy(MOMENT), directions, 200)
    assert np.trace(restored(gram)) == pytest.approx(np.trace(MOMENT), rel=1e-6)


@pytest.mark.parametrize("tokens", [1, 3, 200])
@pytest.mark.parametrize("directions", [1, 4, 9])
def test_what_is_made_is_sound(tokens: int, directions: int) -> None:
    inputs = torch.from_numpy(INPUTS[:tokens])
    gram = Gram.of(inputs.mT @ inputs / tokens, directions, 50)
    assert gram_problems(gram) == []
    assert {part.dtype for part in (gram.vectors, gram.values, gram.rest)} == {torch.float32}


def test_largest_entry_of_each_vector_is_positive() -> None:
    vectors = make_gram(9, 9).vectors
    assert (vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rest": torch.tensor([-1e-6])}, "rest: expected a number not below 0"),
        ({"rest": torch.tensor([1e6])}, "values: expected values from large to small, none below"),
        ({"rest": torch.tensor([torch.nan])}, "rest: expected finite numbers"),
        ({"values": torch.tensor([1.0, 2.0])}, "values: expected values from large to small"),
        ({"values": torch.tensor([torch.inf, 2.0])}, "values: expected finite numbers"),
        ({"vectors": torch.ones(9, 2)}, "vectors: expected orthonormal"),
        ({"vectors": torch.full((9, 2), torch.nan)}, "vectors: expected finite numbers"),
    ],
)
def test_each_broken_rule_is_named(change: dict[str, Any], says: str) -> None:
    (problem,) = gram_problems(replace(make_gram(9, 2), **change))
    assert problem.startswith(says)
