"""Laws that every merge method obeys; a new entry of METHODS is held to all of them.

A method that breaks a law by design names it in `EXEMPT`, with the reason.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws.strategies import (
    EPS,
    EVERYTHING,
    SHAPES,
    Case,
    assert_same_deltas,
    bricks_of,
    cases,
    coefficient,
    dense,
    factor_bytes,
    law_settings,
    merge,
    random_delta,
    random_factors,
    random_grams,
    seeds,
    suited,
    zero_delta,
)
from medlego import Generalist, assemble
from medlego.bricks import LowRank, canonical_problems
from medlego.merge import METHODS, Method, find_method, present

LAWS = law_settings(15)
TRIMS = "trims even a single brick"
DROPS = "drops entries even of a single brick"
FLATTENS = "evens out even a single brick's singular values"
NORMALISES = "its directions depend on the coefficients"
SHARES = "a factor common to all coefficients changes nothing, and negative ones are refused"
EXEMPT: dict[str, dict[str, str]] = {
    "one_brick_is_itself": {
        **dict.fromkeys(("ties", "core-ties", "knots-ties"), TRIMS),
        **dict.fromkeys(("dare", "dare-ties", "core-dare-ties"), DROPS),
        **dict.fromkeys(("iso-c", "iso-cts"), FLATTENS),
    },
    "negated_coefficients": {"regmean": SHARES},
    "linear_in_coefficients": {
        **dict.fromkeys(("tsv", "iso-c", "iso-cts", "lora-lego"), NORMALISES),
        "regmean": SHARES,
    },
}


def every_method(law: str = "") -> pytest.MarkDecorator:
    names = [name for name in METHODS if name not in EXEMPT.get(law, {})]
    return pytest.mark.parametrize("method", [METHODS[n] for n in names], ids=names)


@every_method()
@LAWS
@given(case=cases())
def test_inputs_are_not_mutated(method: Method, case: Case) -> None:
    before = [factor_bytes(vector) for vector in case.task_vectors]
    merge(method, case)
    assert [factor_bytes(vector) for vector in case.task_vectors] == before


@every_method()
@LAWS
@given(case=cases())
def test_result_is_float32(method: Method, case: Case) -> None:
    dtypes = {t.dtype for d in merge(method, case, None).deltas.values() for t in (d.U, d.S, d.Vh)}
    assert dtypes <= {torch.float32}


@every_method()
@LAWS
@given(case=cases())
def test_result_is_canonical(method: Method, case: Case) -> None:
    problems = [
        p
        for rank in (None, EVERYTHING)
        for d in merge(method, case, rank).deltas.values()
        for p in canonical_problems(d)
    ]
    assert problems == []


@every_method()
@LAWS
@given(case=cases())
def test_result_is_orthonormal_to_1e_minus_5(method: Method, case: Case) -> None:
    for delta in merge(method, case).deltas.values():
        for columns in (delta.U.double(), delta.Vh.double().mT):
            identity = torch.eye(delta.rank, dtype=torch.float64)
            torch.testing.assert_close(columns.mT @ columns, identity, rtol=0, atol=1e-5)


@every_method()
@LAWS
@given(case=cases())
def test_result_has_every_target_of_every_brick_that_counts(method: Method, case: Case) -> None:
    shapes = {name: delta.shape for name, delta in merge(method, case, None).deltas.items()}
    vectors = present(case.task_vectors, case.coefficients)
    assert shapes == {name: SHAPES[name] for vector in vectors for name in vector}


@every_method()
@LAWS
@given(case=cases())
def test_same_input_gives_same_bytes(method: Method, case: Case) -> None:
    first, second = merge(method, case, None), merge(method, case, None)
    assert factor_bytes(first.deltas) == factor_bytes(second.deltas)
    assert first.losses == second.losses


@every_method()
@LAWS
@given(case=cases())
def test_target_gives_same_bytes_whatever_stands_beside_it(method: Method, case: Case) -> None:
    together = factor_bytes(merge(method, case).deltas)
    for name in together:
        vectors = tuple({n: d for n, d in v.items() if n == name} for v in case.task_vectors)
        alone = replace(case, task_vectors=vectors)
        if not method.needs_grams:
            alone = alone.of([place for place, vector in enumerate(vectors) if vector])
        assert factor_bytes(merge(method, alone).deltas) == {name: together[name]}


@every_method()
@LAWS
@given(data=st.data(), case=cases(min_bricks=2))
def test_order_of_bricks_is_irrelevant_where_declared(
    method: Method, data: st.DataObject, case: Case
) -> None:
    if method.order_matters:
        pytest.skip(f"{method.name} declares that order matters")
    order = data.draw(st.permutations(range(len(case.coefficients))))
    atol = suited(method, case).atol
    assert_same_deltas(dense(merge(method, case.of(order))), dense(merge(method, case)), atol)


@every_method("one_brick_is_itself")
@LAWS
@given(case=cases())
def test_one_brick_with_coefficient_one_is_itself(method: Method, case: Case) -> None:
    alone = replace(case.of([0]), coefficients=(1.0,))
    assert_same_deltas(dense(merge(method, alone, None)), dense(alone.task_vectors[0]), alone.atol)


@every_method()
@LAWS
@given(data=st.data(), case=cases(), rank=st.sampled_from((None, 2)))
def test_coefficient_zero_gives_the_bytes_of_a_merge_without_the_brick(
    method: Method, data: st.DataObject, case: Case, rank: int | None
) -> None:
    count = len(case.coefficients)
    there = data.draw(st.lists(st.integers(0, count - 1), unique=True).map(sorted))
    muted = tuple(c if i in there else 0.0 for i, c in enumerate(case.coefficients))
    merged = merge(method, replace(case, coefficients=muted), rank)
    without = merge(method, case.of(there), rank)
    assert factor_bytes(merged.deltas) == factor_bytes(without.deltas)
    assert merged.losses == without.losses


@every_method()
@pytest.mark.parametrize("svc", [False, True])
@settings(LAWS, max_examples=8)
@given(data=st.data(), case=cases(min_bricks=2), slope=st.sampled_from((0.0, 1.0)))
def test_assembly_with_coefficient_zero_is_the_one_without_the_brick(
    method: Method, svc: bool, data: st.DataObject, case: Case, slope: float
) -> None:
    count = len(case.coefficients)
    there = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    numbers = [0.5 + abs(c) if i in there else 0.0 for i, c in enumerate(case.coefficients)]
    named = {f"blocks.{place}.{name}": name for place, name in enumerate(SHAPES)}
    vectors = [{n: v[old] for n, old in named.items() if old in v} for v in case.task_vectors]
    tasks = data.draw(st.lists(st.sampled_from("xyz"), min_size=count, max_size=count))
    bricks = [
        replace(brick, task=brick.task.model_copy(update={"name": task}))
        for brick, task in zip(
            bricks_of(replace(case, task_vectors=tuple(vectors))), tasks, strict=True
        )
    ]
    merged = assemble(bricks, method.name, coefficients=numbers, svc=svc, slope=slope)
    without = assemble(
        [bricks[i] for i in there],
        method.name,
        coefficients=[numbers[i] for i in there],
        svc=svc,
        slope=slope,
    )
    alone = {t.name for t in merged.targets} - without.deltas.keys()
    assert {n for n, delta in merged.deltas.items() if not delta.norm()} >= alone
    shared = {n: delta for n, delta in merged.deltas.items() if n not in alone}
    assert factor_bytes(shared) == factor_bytes(without.deltas)
    assert merged.relative_loss == without.relative_loss


@every_method()
@LAWS
@given(
    seed=seeds, gauge=st.sampled_from((-1.0, 1e-4, 0.3, 2.0, -700.0)), c=coefficient, other=cases()
)
def test_gauge_of_lora_factors_is_irrelevant(
    method: Method, seed: int, gauge: float, c: float, other: Case
) -> None:
    B, A = random_factors(SHAPES["a"], 3, seed)
    merged = []
    for factors in ((B, A), (B * gauge, A / gauge)):
        vector = {"a": LowRank.from_factors(*factors)}
        case = Case(
            (vector, *other.task_vectors),
            (c, *other.coefficients),
            (random_grams(seed), *other.grams),
        )
        merged.append(dense(merge(method, case)))
    assert_same_deltas(merged[1], merged[0], suited(method, case).atol)


@every_method()
@LAWS
@given(case=cases())
def test_lacking_target_counts_as_zero(method: Method, case: Case) -> None:
    names = {name for vector in case.task_vectors for name in vector}
    vectors = tuple(
        {name: vector.get(name, zero_delta(SHAPES[name])) for name in sorted(names)}
        for vector in case.task_vectors
    )
    padded, atol = replace(case, task_vectors=vectors), suited(method, case).atol
    assert_same_deltas(dense(merge(method, padded)), dense(merge(method, case)), atol)


@every_method("negated_coefficients")
@LAWS
@given(case=cases())
def test_negated_coefficients_negate_the_result(method: Method, case: Case) -> None:
    negated = replace(case, coefficients=tuple(-c for c in case.coefficients))
    expected = {name: -delta for name, delta in dense(merge(method, case)).items()}
    assert_same_deltas(dense(merge(method, negated)), expected, case.atol)


@every_method("linear_in_coefficients")
@LAWS
@given(data=st.data(), case=cases(), factor=coefficient)
def test_result_is_linear_in_coefficients_that_are_not_zero(
    method: Method, data: st.DataObject, case: Case, factor: float
) -> None:
    count = len(case.coefficients)
    case = replace(case, coefficients=tuple(c or 0.25 for c in case.coefficients))
    others = data.draw(st.lists(coefficient.filter(bool), min_size=count, max_size=count))
    other = replace(case, coefficients=tuple(others))
    summed = tuple(c + factor * d for c, d in zip(case.coefficients, others, strict=True))
    assume(all(summed))
    total = replace(case, coefficients=summed)
    first, second = dense(merge(method, case)), dense(merge(method, other))
    expected = {name: first[name] + factor * second[name] for name in first}
    atol = case.atol + abs(factor) * other.atol
    assert_same_deltas(dense(merge(method, total)), expected, atol)


@every_method()
@LAWS
@given(case=cases(), rank=st.integers(1, 5))
def test_rank_cut_never_increases_the_norm(method: Method, case: Case, rank: int) -> None:
    whole, cut = merge(method, case), merge(method, case, rank)
    for name, delta in cut.deltas.items():
        assert delta.norm() <= whole.deltas[name].norm() * (1 + 4 * EPS)


@every_method()
@LAWS
@given(case=cases(), rank=st.integers(1, 5))
def test_rank_cut_leaves_at_most_that_rank(method: Method, case: Case, rank: int) -> None:
    assert all(delta.rank <= rank for delta in merge(method, case, rank).deltas.values())


@every_method()
@LAWS
@given(case=cases(), rank=st.sampled_from((None, 1, 2, 3, 5)))
def test_reported_loss_is_the_dense_difference(
    method: Method, case: Case, rank: int | None
) -> None:
    merged = merge(method, case, rank)
    whole, cut = dense(merge(method, case)), dense(merged)
    for name, loss in merged.losses.items():
        difference = float(torch.linalg.matrix_norm(whole[name] - cut[name]))
        assert loss == pytest.approx(difference, rel=1e-5, abs=suited(method, case).atol)


@every_method()
@LAWS
@given(case=cases(), rank=st.integers(1, 5))
def test_relative_loss_is_the_share_of_the_norm(method: Method, case: Case, rank: int) -> None:
    merged = merge(method, case, rank)
    whole, cut = dense(merge(method, case)), dense(merged)
    norm = sum(float(delta.square().sum()) for delta in whole.values()) ** 0.5
    lost = sum(float((whole[n] - cut[n]).square().sum()) for n in whole) ** 0.5
    assert merged.relative_loss * norm == pytest.approx(lost, rel=1e-5, abs=case.atol)


@every_method()
def test_result_is_independent_of_the_callers_thread_count(method: Method) -> None:
    wide = 256  # torch's own threads change the last bits from about here
    vectors = tuple({"t": random_delta((wide, wide), 4, seed)} for seed in range(8))
    bricks, before, results = bricks_of(Case(vectors, (0.3,) * 8)), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(factor_bytes(assemble(bricks, method.name, coefficients=0.3).deltas))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@every_method()
@settings(LAWS, max_examples=8)
@given(case=cases())
def test_assemble_save_load_save_gives_identical_bytes(method: Method, case: Case) -> None:
    coefficients = suited(method, case).coefficients
    generalist = assemble(bricks_of(case), method.name, coefficients=coefficients)
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch, "first"), Path(scratch, "second")
        generalist.save(first)
        Generalist.load(first).save(second)
        assert _contents(second) == _contents(first)


@every_method()
@settings(LAWS, max_examples=8)
@given(case=cases())
def test_loaded_recipe_rebuilds_the_same_bytes(method: Method, case: Case) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "generalist")
        coefficients = suited(method, case).coefficients
        assemble(bricks_of(case), method.name, coefficients=coefficients).save(path)
        loaded = Generalist.load(path)
    recipe = loaded.recipe
    again = assemble(
        loaded.bricks,
        recipe.method,
        coefficients=[item.coefficient for item in recipe.bricks],
        rank=recipe.rank,
        settings=recipe.settings,
        svc=recipe.svc,
        sites=recipe.sites,
        seed=recipe.seed,
    )
    assert again.recipe.digest == recipe.digest
    assert factor_bytes(again.deltas) == factor_bytes(loaded.deltas)


@pytest.mark.parametrize("name", METHODS)
def test_table_finds_each_method_under_its_own_name(name: str) -> None:
    assert find_method(name).name == name


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
