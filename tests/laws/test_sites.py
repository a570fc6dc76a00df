"""Laws of several sites that hold for every merge method: copies of a brick are that brick."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factories import make_base, make_brick, with_grams
from laws.strategies import EPS, law_settings
from medlego import Generalist, assemble
from medlego.bricks import Brick, Card
from medlego.data import KINDS
from medlego.merge import METHODS

LAWS = law_settings(4)
BASE = make_base()
FEATURES = torch.randn(5, BASE.ref.features, generator=torch.Generator().manual_seed(3))

counts = st.lists(st.integers(1, 1000), min_size=2, max_size=4)


def made(name: str, seed: int, kind: str = "multiclass") -> Brick:
    """A brick that every method can merge: with Grams."""
    return with_grams(make_brick(name, seed, kind=kind, base=BASE), seed=seed)


def copies(brick: Brick, images: list[int]) -> list[Brick]:
    """The same brick from several sites: other cards, and so other digests."""
    return [
        replace(brick, card=Card(images={"train": {"label-0": n}}, data=f"site {i}"))
        for i, n in enumerate(images)
    ]


def assert_same_deltas(actual: Generalist, expected: Generalist) -> None:
    for name, delta in expected.deltas.items():
        atol = 100 * EPS * delta.norm()
        torch.testing.assert_close(actual.deltas[name].dense(), delta.dense(), rtol=0, atol=atol)


CASES = [(method, False) for method in METHODS] + [("linear", True), ("tsv", True)]
"""Calibration after iso-* is left out: with equal singular values its directions are arbitrary."""


@pytest.mark.parametrize(("method", "svc"), CASES)
@LAWS
@given(images=counts, seed=st.integers(0, 99))
def test_copies_merge_with_others_as_one_brick_does(
    method: str, svc: bool, images: list[int], seed: int
) -> None:
    brick, other = (made(n, seed + i) for i, n in enumerate(("one", "other")))
    merged = assemble([*copies(brick, images), other], method, svc=svc)
    assert_same_deltas(merged, assemble([brick, other], method, svc=svc))


@pytest.mark.parametrize("kind", KINDS)
@LAWS
@given(images=counts, seed=st.integers(0, 99))
def test_copies_alone_are_the_brick(kind: str, images: list[int], seed: int) -> None:
    brick = made("one", seed, kind=kind)
    merged, expected = assemble(copies(brick, images)), assemble([brick])
    assert_same_deltas(merged, expected)
    (reader,) = merged.readers
    assert reader.task == brick.task
    weight, bias = brick.head.weight, brick.head.bias
    if kind == "multiclass":  # a softmax has no shift
        weight, bias = weight - weight.mean(dim=0), bias - bias.mean()
    torch.testing.assert_close(reader.head.weight, weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(reader.head.bias, bias, rtol=0, atol=1e-6)
    answers = (
        brick.task.rules.probabilities(h.logits(FEATURES)) for h in (reader.head, brick.head)
    )
    torch.testing.assert_close(*answers, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_with_sites_rebuilds_the_same_bytes(method: str) -> None:
    bricks = [
        *copies(made("one", 1), [3, 5]),
        made("other", 2),
        made("one", 3),
    ]
    first = assemble(bricks, method, sites="equal")
    coefficients = [item.coefficient for item in first.recipe.bricks]
    again = assemble(
        bricks, method, coefficients=coefficients, sites="equal", slope=first.recipe.slope
    )
    for name, delta in first.deltas.items():
        for part in ("U", "S", "Vh"):
            actual, expected = getattr(again.deltas[name], part), getattr(delta, part)
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_a_task_s_sites_is_irrelevant(method: str) -> None:
    one, two, other = (made(name, seed) for seed, name in enumerate(("one", "one", "other")))
    assert_same_deltas(assemble([two, other, one], method), assemble([one, other, two], method))
