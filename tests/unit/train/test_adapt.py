"""A new task from a generalist: every start gives an exact brick on the plain base."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factories import (
    make_base,
    make_brick,
    make_dataset,
    make_pixels,
    scaled,
    shut_test,
)
from medlego.base import Inputs, features
from medlego.bricks import Brick, attach_weighted, brick_bytes, brick_from_bytes, fold, weighted_sum
from medlego.errors import BrickError, GeneralistError, SettingsError
from medlego.generalist import Generalist, assemble, specialist
from medlego.prediction import TaskAnswers
from medlego.train import DEFAULT_STARTS, TrainSettings, adapt, train_brick
from medlego.train.adapt import CHOICES, cut_brick, foundation
from medlego.train.head_fit import choose_head

ADAPT = import_module("medlego.train.adapt")
BASE = make_base(depth=3)
SETTINGS = TrainSettings(epochs=3, rank=2, batch_size=4)
ALL = tuple(CHOICES)


def generalist() -> Generalist:
    bricks = [make_brick("a", 1, 1, base=BASE), make_brick("b", 2, 3, base=BASE, stem=1)]
    return assemble([scaled(brick, 0.3) for brick in bricks])


def new_task():
    return shut_test(make_dataset("new", seed=5, kind="binary", images=24))


def balanced_accuracy(brick: Brick) -> float:
    """Of the brick on its plain base, on the validation images."""
    from medlego.metrics import point_scores

    data = new_task()
    module = specialist(brick).fold(BASE)
    pixels = Inputs(data.val.images, BASE).take(range(len(data.val)))
    pooled = features(module, BASE.normalise(pixels))
    (reader,) = specialist(brick).readers
    probs = TaskAnswers.read(reader.uncalibrated(), pooled).probs
    return point_scores(brick.task, probs, data.val.labels)["balanced_accuracy"]


@pytest.fixture(scope="module")
def adapted():
    return adapt(generalist(), new_task(), SETTINGS, base=BASE, starts=ALL)


def test_every_start_is_tried_and_the_best_on_validation_kept(adapted):
    assert tuple(attempt.start for attempt in adapted.attempts) == ALL
    best = max(adapted.attempts, key=lambda attempt: attempt.score)
    assert (adapted.chosen, adapted.brick.digest) == (best.start, best.brick.digest)
    assert [len(attempt.history) for attempt in adapted.attempts] == [3, 4, 4, 4, 4]


@pytest.mark.parametrize("number", range(5), ids=ALL)
def test_each_brick_on_the_plain_base_scores_what_its_training_saw(adapted, number):
    attempt = adapted.attempts[number]
    brick = brick_from_bytes(brick_bytes(attempt.brick), "x")
    assert balanced_accuracy(brick) == pytest.approx(attempt.score, abs=1e-6)


def test_a_brick_says_what_it_was_adapted_from(adapted):
    plain, head, *others = adapted.attempts
    assert "adapted_from" not in plain.brick.settings | head.brick.settings
    assert (head.brick.settings["head_first"], "head_first" in plain.brick.settings) == (
        True,
        False,
    )
    for attempt in others:
        assert attempt.brick.settings["adapted_from"] == generalist().recipe.model
        assert attempt.brick.settings["adapted_start"] == attempt.start


def test_plain_is_ordinary_training(adapted):
    expected = train_brick(BASE, new_task(), SETTINGS, device="cpu")
    assert adapted.attempts[0].brick.digest == expected.digest


def test_ranks_add_where_the_merge_stays_below(adapted):
    ranks = {a.start: {d.rank for d in a.brick.deltas.values()} for a in adapted.attempts}
    merged = {delta.rank for delta in generalist().deltas.values()}
    assert ranks["plain"] == ranks["head"] == ranks["directions"] == {2}
    assert max(ranks["merged"]) == max(merged) + 2
    assert max(ranks["coefficients"]) == 4


def test_merged_is_the_merge_plus_what_was_learnt():
    model = generalist()
    settings = SETTINGS.model_copy(update={"epochs": 1})
    below = foundation(model, "merged")
    assert below is not None
    made: list[Brick] = []
    train_brick(
        BASE,
        new_task(),
        settings,
        foundation=below,
        device="cpu",
        callbacks=[lambda epoch: made.append(epoch.brick())],
    )
    (brick,) = made
    for name, merged in model.deltas.items():
        learnt = brick.deltas[name].dense() - merged.dense()
        assert torch.linalg.matrix_rank(learnt, atol=1e-4) <= 2


def test_directions_set_out_from_the_merge_itself():
    model = generalist()
    below = foundation(model, "directions")
    assert below is not None
    targets = BASE.targets()
    factors = below.factors(targets, TrainSettings(rank=9), "cpu")
    for name, delta in factors.deltas().items():
        torch.testing.assert_close(delta.dense(), model.deltas[name].dense(), rtol=0, atol=1e-5)
    few = below.factors(targets, TrainSettings(rank=1), "cpu").deltas()
    for name, delta in few.items():
        cut = model.deltas[name].truncate(1)[0]
        torch.testing.assert_close(delta.dense(), cut.dense(), rtol=0, atol=1e-5)


def test_coefficients_start_as_the_recipe_has_them():
    model = generalist()
    below = foundation(model, "coefficients")
    assert below is not None
    deltas = below.factors((), SETTINGS, "cpu").deltas()
    for name in model.deltas:
        parts = [
            (b.deltas[name], item.coefficient)
            for b, item in zip(model.bricks, model.recipe.bricks, strict=True)
            if name in b.deltas
        ]
        expected = weighted_sum(*(list(x) for x in zip(*parts, strict=True)))
        torch.testing.assert_close(deltas[name].dense(), expected.dense(), rtol=0, atol=1e-6)


def pixels(count: int = 3) -> Tensor:
    return make_pixels(count, seed=1)


def test_weighted_deltas_are_those_of_the_folded_sum():
    model = generalist()
    generator = torch.Generator().manual_seed(3)
    weights = torch.nn.Parameter(torch.randn(2, 3, generator=generator))
    deltas = [brick.deltas for brick in model.bricks]
    weighted = attach_weighted(BASE.module, model.targets, deltas, weights)
    summed = {}
    for target in model.targets:
        parts = [
            (d[target.name], float(weights.detach()[k, target.block]))
            for k, d in enumerate(deltas)
            if target.name in d
        ]
        summed[target.name] = weighted_sum(*(list(x) for x in zip(*parts, strict=True)))
    expected = features(fold(BASE.module, model.targets, summed), pixels())
    torch.testing.assert_close(features(weighted, pixels()), expected, rtol=1e-5, atol=1e-5)


def test_a_cut_reports_what_it_loses(adapted):
    merged = adapted.attempts[2].brick
    cut, loss = cut_brick(merged, 2)
    assert {delta.rank for delta in cut.deltas.values()} == {2}
    assert cut.settings["cut_to_rank"] == 2
    gone = sum((merged.deltas[n].dense() - d.dense()).square().sum() for n, d in cut.deltas.items())
    whole = sum(d.dense().square().sum() for d in merged.deltas.values())
    assert loss == pytest.approx(float((gone / whole).sqrt()), rel=1e-4)
    assert cut_brick(merged, None) == (merged, 0.0)
    assert cut_brick(merged, 99)[1] == 0.0


def test_a_killed_adaptation_goes_on_and_comes_to_the_same(adapted, tmp_path, monkeypatch):
    trained: list[str] = []
    killed: list[str] = []
    whole = ADAPT.train_brick

    def dies(*arguments, foundation=None, **more):
        trained.append("plain" if foundation is None else foundation.start)
        if len(trained) == 2 and not killed:
            killed.append(trained.pop())
            raise KeyboardInterrupt
        return whole(*arguments, foundation=foundation, **more)

    monkeypatch.setattr(ADAPT, "train_brick", dies)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        adapt(generalist(), new_task(), SETTINGS, base=BASE, checkpoint=state)
    adaptation = adapt(generalist(), new_task(), SETTINGS, base=BASE, checkpoint=state)
    assert trained == ["plain", "merged", "directions"]
    expected = [a for a in adapted.attempts if a.start in DEFAULT_STARTS]
    assert [a.brick.digest for a in adaptation.attempts] == [a.brick.digest for a in expected]
    assert [a.history for a in adaptation.attempts] == [a.history for a in expected]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", CHOICES)
def test_a_start_killed_between_epochs_goes_on_there(adapted, start, tmp_path):
    settings = SETTINGS.model_copy(update={"head_first": start != "plain"})
    seen: list[int] = []

    def dies(epoch):
        seen.append(len(epoch.history))
        if len(seen) == 3:
            raise KeyboardInterrupt

    def train(callback):
        return train_brick(
            BASE,
            new_task(),
            settings,
            foundation=foundation(generalist(), start),
            checkpoint=tmp_path / "state",
            device="cpu",
            callbacks=[callback],
        )

    with pytest.raises(KeyboardInterrupt):
        train(dies)
    brick = train(lambda epoch: seen.append(len(epoch.history)))
    assert seen[:3] == [1, 2, 3]
    assert seen[3:] == list(range(3, 4 + (start != "plain")))
    expected = next(attempt for attempt in adapted.attempts if attempt.start == start)
    assert brick.digest == expected.brick.digest


def test_a_head_fitted_first_is_the_best_there_is_for_the_features_as_they_are():
    settings = SETTINGS.model_copy(update={"head_first": True, "epochs": 1})
    made: list[Brick] = []
    train_brick(
        BASE,
        new_task(),
        settings,
        device="cpu",
        callbacks=[lambda epoch: made.append(epoch.brick())],
    )
    data = new_task()
    pooled = [
        features(BASE.module, BASE.normalise(Inputs(part.images, BASE).take(range(len(part)))))
        for part in (data.train, data.val)
    ]
    expected = choose_head(
        data.task, (pooled[0], data.train.labels), [(pooled[1], data.val.labels)]
    )
    torch.testing.assert_close(made[0].head.weight, expected.head.weight, rtol=1e-3, atol=1e-4)
    assert all(float(delta.S.abs().max()) == 0 for delta in made[0].deltas.values())


def test_what_another_run_left_is_not_taken_for_this_one(tmp_path):
    state = tmp_path / "state"
    settings = SETTINGS.model_copy(update={"epochs": 1})
    first = adapt(generalist(), new_task(), settings, base=BASE, starts=("plain",))
    from medlego.train.adapt import _Done

    _Done(Path(f"{state}.plain"), ["another"]).write(
        first.attempts[0].history, first.attempts[0].brick
    )
    adaptation = adapt(
        generalist(), new_task(), SETTINGS, base=BASE, starts=("plain",), checkpoint=state
    )
    assert adaptation.attempts[0].history != first.attempts[0].history


def test_a_start_that_finished_with_a_profile_is_not_taken_for_one_without(tmp_path):
    state = tmp_path / "state"
    settings = SETTINGS.model_copy(update={"epochs": 1})
    removed = ADAPT._Done.remove

    def trained(profile: bool) -> Brick:
        own = settings.model_copy(update={"profile": profile})
        return adapt(
            generalist(), new_task(), own, base=BASE, starts=("plain",), checkpoint=state
        ).brick

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ADAPT._Done, "remove", lambda _self: None)
        assert trained(True).profile is not None
    assert ADAPT._Done.remove is removed
    assert trained(False).profile is None


@pytest.mark.parametrize(
    ("starts", "rank", "says"),
    [
        ((), None, "starts: expected distinct ones out of plain, .*, got none"),
        (("plain", "plain"), None, "got plain, plain"),
        (("warm",), None, "got warm"),
        (("plain",), 0, "rank: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused_before_training(starts, rank, says):
    with pytest.raises(SettingsError, match=says):
        adapt(generalist(), new_task(), SETTINGS, base=BASE, starts=starts, rank=rank)


def test_another_base_is_refused():
    with pytest.raises(GeneralistError, match="base: expected"):
        adapt(generalist(), new_task(), SETTINGS, base=make_base(seed=1, depth=3))


def test_a_foundation_goes_with_plain_training_alone():
    below = foundation(generalist(), "merged")
    aware = SETTINGS.model_copy(update={"merge_aware": True})
    with pytest.raises(BrickError, match="expected plain training"):
        train_brick(BASE, new_task(), aware, foundation=below, device="cpu")
    start = replace(make_brick("new", base=BASE, kind="binary"), task=new_task().task)
    with pytest.raises(SettingsError, match="start: expected none with a foundation"):
        train_brick(BASE, new_task(), SETTINGS, foundation=below, start=start, device="cpu")


def test_an_adapted_brick_can_be_added(adapted):
    from medlego.generalist import add

    model = generalist()
    for attempt in adapted.attempts:
        more = add(model, attempt.brick)
        assert [task.name for task in more.tasks] == ["a", "b", "new"]
