"""Assembly: what is refused, what is kept, what comes back from disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from factories import (
    make_base,
    make_brick,
    make_bricks,
    make_pixels,
    make_task,
    scaled,
)
from medlego.base import features
from medlego.errors import GeneralistError, MergeError
from medlego.generalist import Generalist, assemble, specialist

PIXELS = make_pixels(3, seed=5)


def trio():
    base = make_base()
    kinds = ("multiclass", "binary", "ordinal")
    return base, make_bricks(kinds, base, of_kinds=True)


def test_heads_of_all_kinds_and_sizes_stand_side_by_side():
    _, bricks = trio()
    generalist = assemble(bricks)
    assert [task.name for task in generalist.tasks] == ["multiclass", "binary", "ordinal"]
    assert [b.head.weight.shape[0] for b in generalist.bricks] == [3, 1, 1]


def test_folded_weights_hold_the_weighted_sum_of_all_deltas():
    base, bricks = trio()
    folded = assemble(bricks, coefficients=[0.5, -1.0, 2.0]).fold(base)
    target = bricks[0].targets[1]
    change = sum(
        c * b.deltas[target.name].dense() for c, b in zip([0.5, -1.0, 2.0], bricks, strict=True)
    )
    rows = slice(target.start, target.stop)
    weight = folded.get_parameter(f"{target.module}.weight")[rows]
    before = base.module.get_parameter(f"{target.module}.weight")[rows]
    torch.testing.assert_close(weight - before, change, rtol=1e-4, atol=1e-5)


def test_auto_coefficients_are_one_over_the_root_of_the_count():
    _, bricks = trio()
    coefficients = [item.coefficient for item in assemble(bricks).recipe.bricks]
    assert coefficients == pytest.approx([3**-0.5] * 3, rel=1e-12)


def test_a_cut_reports_the_share_of_the_norm_that_it_lost():
    _, bricks = trio()
    whole, cut = assemble(bricks), assemble(bricks, rank=2)
    total = sum(delta.norm() ** 2 for delta in whole.deltas.values())
    lost = sum(
        float(torch.linalg.matrix_norm(whole.deltas[n].dense() - cut.deltas[n].dense())) ** 2
        for n in whole.deltas
    )
    assert cut.relative_loss == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    assert whole.relative_loss == 0


def test_lego_is_no_larger_than_its_largest_brick():
    _, bricks = trio()
    bricks[1] = make_brick("binary", seed=9, kind="binary", rank=3, base=make_base())
    assert {delta.rank for delta in assemble(bricks, "lego").deltas.values()} == {3}


def test_bricks_of_different_stems_merge():
    base = make_base(depth=3)
    deep = make_brick("deep", stem=1, base=base)
    whole = make_brick("whole", seed=1, base=base)
    generalist = assemble([deep, whole], coefficients=1.0)
    alone = generalist.deltas["blocks.0.attn.q"].dense()
    expected = whole.deltas["blocks.0.attn.q"].dense()
    torch.testing.assert_close(alone, expected, rtol=1e-5, atol=1e-6)


def test_a_specialist_does_not_answer_as_the_base():
    base, bricks = trio()
    inputs = base.normalise(PIXELS)
    alone = features(specialist(bricks[0]).fold(base), inputs)
    assert not torch.allclose(alone, features(base.module, inputs), rtol=1e-3, atol=1e-3)


def test_all_problems_come_in_one_message():
    base = make_base()
    other = make_base(1)
    first = make_brick("first", base=base)
    clash = replace(
        make_brick("first", seed=3, base=base),
        task=make_task("first", kind="multilabel"),
    )
    stranger = make_brick("stranger", base=other)
    with pytest.raises(MergeError) as caught:
        assemble([first, first, clash, stranger], "magic", coefficients=[1.0], rank=0)
    text = str(caught.value)
    for part in (
        "expected once, got 2 times",
        "task 'first': expected kind multiclass as in brick 'first ",
        "brick 'stranger': expected base",
        "method: expected one of linear, lego, ties,",
        "regmean, got 'magic'",
        "coefficients: expected one per brick (4)",
        "rank: expected at least 1, got 0",
    ):
        assert part in text


def test_rows_that_differ_only_between_later_bricks_are_refused():
    first, second, third = (make_brick(f"task-{n}", seed=n, stem=1 - min(n, 1)) for n in range(3))
    (target, *_) = (t for t in second.targets if t not in first.targets)
    moved = replace(target, start=target.start + 1, stop=target.stop + 1)
    third = replace(third, targets=(moved,), deltas={target.name: second.deltas[target.name]})
    with pytest.raises(MergeError, match="'task-2': expected the same rows"):
        assemble([first, second, third])


def test_nan_in_a_delta_is_refused():
    brick = make_brick()
    with pytest.raises(MergeError, match="expected finite numbers"):
        assemble([scaled(brick, float("nan"))])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coefficients_must_be_finite(value):
    with pytest.raises(MergeError, match="finite"):
        assemble([make_brick()], coefficients=value)


def test_another_input_size_is_refused():
    first = make_brick("first")
    second = make_brick("second", seed=1)
    second = replace(second, base=second.base.model_copy(update={"image_size": 24}))
    with pytest.raises(MergeError, match="expected 16 px"):
        assemble([first, second])


def test_no_bricks_is_refused():
    with pytest.raises(MergeError, match="at least one"):
        assemble([])


def test_folding_into_another_base_is_refused():
    _, bricks = trio()
    with pytest.raises(GeneralistError, match="expected tiny"):
        assemble(bricks).fold(make_base(4))


def test_save_then_load_gives_the_same_generalist(tmp_path):
    base, bricks = trio()
    before = assemble(bricks, "lego", coefficients=[0.3, 0.4, 0.5], rank=3)
    before.save(tmp_path / "g")
    after = Generalist.load(tmp_path / "g")
    assert (after.recipe, after.lineage) == (before.recipe, before.lineage)
    assert [b.digest for b in after.bricks] == [b.digest for b in before.bricks]
    inputs = base.normalise(PIXELS)
    torch.testing.assert_close(
        features(after.fold(base), inputs), features(before.fold(base), inputs), rtol=0, atol=0
    )


def test_an_existing_directory_is_left_alone(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "mine.txt").write_text("mine")
    with pytest.raises(GeneralistError, match="expected a new directory"):
        assemble([make_brick()]).save(tmp_path / "g")
    assert [p.name for p in tmp_path.iterdir()] == ["g"]
    assert [p.name for p in (tmp_path / "g").iterdir()] == ["mine.txt"]
