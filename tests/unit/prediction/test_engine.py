"""A generalist at work: each image's answers are its specialists', whatever shares the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from factories import (
    make_base,
    make_brick,
    make_dataset,
    make_pixels,
    with_measured_profile,
    with_profile,
)
from medlego.base import Base, Inputs, embed, features, through
from medlego.bricks import Adapter, Brick, Mixed, fold
from medlego.data import ArrayImages
from medlego.errors import BrickError, GeneralistError, MergeError
from medlego.generalist import Generalist, assemble, specialist
from medlego.prediction import Engine, answer_task, predict
from medlego.prediction.modes import parts

BASE = make_base(depth=3)
MODES = ("merged", "grouped", "routed")


def pixels(count: int = 12, seed: int = 0) -> Tensor:
    return make_pixels(count, seed=seed)


def bricks(stem: int = 0) -> list[Brick]:
    """Of different rank, targets, kind and count of labels."""
    return [
        make_brick("a", 1, 1, "multiclass", BASE, count=5, stem=stem),
        make_brick("b", 2, 3, "binary", BASE, targets=("q", "k", "fc1"), stem=stem),
        make_brick("c", 3, 2, "multilabel", BASE, count=4, targets=("v",), stem=max(1, stem)),
        make_brick("d", 4, 4, "ordinal", BASE, count=3, stem=stem),
    ]


def own_probs(brick: Brick, images: Tensor) -> Tensor:
    pooled = features(specialist(brick).fold(BASE), BASE.normalise(images))
    return brick.task.rules.probabilities(brick.head.logits(pooled))


@pytest.mark.parametrize("start", [0, 1])
def test_each_row_of_a_mixed_batch_is_its_own_adapters(start):
    members = bricks(stem=start)
    mixed = Mixed(BASE.module, [Adapter(b.targets, b.deltas) for b in members], "cpu")
    assert mixed.stem == start
    images = pixels()
    numbers = torch.tensor([0, 3, 1, 2, 2, 0, 1, 3, 3, 0, 2, 1])
    tokens = through(BASE.module, embed(BASE.module, BASE.normalise(images)), 0, start)
    with torch.inference_mode():
        pooled = mixed.features(tokens, numbers, start)
    for number, brick in enumerate(members):
        rows = numbers == number
        module = fold(BASE.module, brick.targets, brick.deltas)
        expected = features(module, BASE.normalise(images[rows]))
        torch.testing.assert_close(pooled[rows], expected, rtol=1e-5, atol=1e-5)


def test_mixing_leaves_the_base_as_it_was():
    before = {name: tensor.clone() for name, tensor in BASE.module.state_dict().items()}
    mixed = Mixed(BASE.module, [Adapter(b.targets, b.deltas) for b in bricks()], "cpu")
    mixed.features(embed(BASE.module, pixels(2)), torch.tensor([0, 1]), 0)
    assert all(torch.equal(before[n], t) for n, t in BASE.module.state_dict().items())


@pytest.mark.parametrize("stem", [0, 1, 2])
def test_routed_answers_are_the_specialists(stem):
    members = [with_profile(b, 100.0 * i) for i, b in enumerate(bricks(stem))]
    engine, images = Engine(assemble(members), BASE), pixels()
    batch = engine.run(images, [brick.task.name for brick in members])
    assert [a.reader.task.name for a in batch.answers] == ["a", "b", "c", "d"]
    for brick, answered in zip(members, batch.answers, strict=True):
        assert answered.rows.tolist() == list(range(len(images)))
        expected = own_probs(brick, images)
        torch.testing.assert_close(answered.probs, expected, rtol=1e-5, atol=1e-5)


def routable(stem: int = 0) -> tuple[Generalist, dict[str, Tensor]]:
    """Two tasks of images that differ, and images of each."""
    kinds = {"dark": 0, "bright": 1}
    members, shown = [], {}
    for name, seed in kinds.items():
        data = make_dataset(name, seed=seed, images=48)
        assert isinstance(data.train.images, ArrayImages)
        array = data.train.images.array // 8
        images = ArrayImages(array if name == "dark" else 255 - array)
        data = replace(data, train=replace(data.train, images=images))
        brick = make_brick(name, seed, 2, base=BASE, stem=stem)
        members.append(with_measured_profile(brick, BASE, data))
        shown[name] = Inputs(images, BASE).take(range(12))
    return assemble(members), shown


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stem", [0, 1])
def test_a_mixed_batch_is_routed_and_answered_in_one_go(mode, stem):
    generalist, shown = routable(stem)
    engine = Engine(generalist, BASE, mode=mode)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    batch = engine.run(torch.cat(list(shown.values()))[order])
    asked = {a.reader.task.name: a for a in batch.answers}
    for number, name in enumerate(shown):
        rows = [row for row, source in enumerate(order.tolist()) if source // 12 == number]
        chosen = [row for row in rows if batch.routes[row].tasks == (name,)]
        assert len(chosen) >= 10
        assert sorted(chosen) == asked[name].rows.tolist()
    unrouted = engine.run(torch.cat(list(shown.values()))[order], list(shown))
    for answered in unrouted.answers:
        mine = asked[answered.reader.task.name]
        expected = answered.probs[mine.rows]
        torch.testing.assert_close(mine.probs, expected, rtol=1e-5, atol=1e-5)


def test_images_of_no_task_are_answered_by_none():
    generalist, _ = routable()
    noise = make_pixels(3, seed=5)
    batch = Engine(generalist, BASE).run(noise)
    assert batch.answers == ()
    assert [route.tasks for route in batch.routes] == [()] * 3


def test_two_tasks_on_one_image_both_answer():
    members = [with_profile(make_brick(n, i, 2, base=BASE), 0) for i, n in enumerate("ab")]
    engine = Engine(assemble(members), BASE)
    engine.router.ood_scores = lambda features: torch.zeros(len(features), 2)  # type: ignore[method-assign]
    batch = engine.run(pixels(5))
    for brick, answered in zip(members, batch.answers, strict=True):
        assert answered.rows.tolist() == list(range(5))
        expected = own_probs(brick, pixels(5))
        torch.testing.assert_close(answered.probs, expected, rtol=1e-5, atol=1e-5)


def groupable() -> list[Brick]:
    chest = [make_brick(n, i, 2, base=BASE) for i, n in enumerate("ab")]
    chest = [
        replace(b, task=b.task.model_copy(update={"modality": "DX", "body_part": "CHEST"}))
        for b in chest
    ]
    return [with_profile(b, 0) for b in chest] + [with_profile(make_brick("c", 9, base=BASE), 99)]


def test_grouped_parts_are_merges_of_their_group_and_alone_bricks_stay_whole():
    members = groupable()
    model_parts = parts(assemble(members, mode="grouped"), "grouped")
    assert [part.tasks for part in model_parts] == [("a", "b"), ("c",)]
    pair = assemble(members[:2], mode="merged")
    for name, delta in pair.deltas.items():
        torch.testing.assert_close(
            model_parts[0].adapter.deltas[name].dense(), delta.dense(), rtol=0, atol=1e-6
        )
    assert model_parts[1].adapter.deltas is members[2].deltas


@pytest.mark.parametrize("coefficients", [0.3, (0.2, 0.5, 0.9), "mean"])
def test_grouped_merges_take_the_coefficients_of_the_recipe(coefficients):
    members = groupable()
    whole = assemble(members, mode="grouped", coefficients=coefficients)
    pair = coefficients[:2] if isinstance(coefficients, tuple) else coefficients
    expected = assemble(members[:2], mode="merged", coefficients=pair, slope=0.0)
    for name, delta in parts(whole, "grouped")[0].adapter.deltas.items():
        torch.testing.assert_close(delta.dense(), expected.deltas[name].dense(), rtol=0, atol=1e-6)


def test_sites_of_a_task_are_one_part_which_is_their_mean():
    sites = [with_profile(make_brick("a", seed, 2, base=BASE), 0) for seed in (0, 1)]
    members = [*sites, with_profile(make_brick("b", 5, base=BASE), 99)]
    whole = assemble(members)
    model_parts = parts(whole, "routed")
    assert [part.tasks for part in model_parts] == [("a",), ("b",)]
    mean = {n: (sites[0].deltas[n].dense() + sites[1].deltas[n].dense()) / 2 for n in whole.deltas}
    for name, delta in model_parts[0].adapter.deltas.items():
        torch.testing.assert_close(delta.dense(), mean[name], rtol=0, atol=1e-6)


def test_auto_is_routed_only_where_every_task_has_a_profile():
    plain, known = make_brick("a", 0, base=BASE), with_profile(make_brick("b", 1, base=BASE))
    assert assemble([plain, known]).recipe.mode == "merged"
    assert assemble([known]).recipe.mode == "routed"
    assert assemble([plain, known], mode="routed").recipe.mode == "routed"


def test_a_mode_that_routes_needs_a_profile():
    with pytest.raises(
        MergeError, match="mode 'routed': expected a brick with a profile, got none"
    ):
        assemble([make_brick(base=BASE)], mode="routed")
    with pytest.raises(MergeError, match="mode: expected one of merged, grouped, routed, got 'x'"):
        assemble([make_brick(base=BASE)], mode="x")


def test_a_merged_recipe_reads_as_before_modes_were():
    generalist = assemble([make_brick(base=BASE)])
    assert "mode" not in generalist.recipe.model_dump(mode="json")
    routed = assemble(groupable()).recipe
    assert routed.model_dump(mode="json")["mode"] == "routed"
    assert routed.model == assemble(groupable(), mode="merged").recipe.digest


def test_the_mode_survives_a_directory_and_an_edit(tmp_path):
    from medlego.generalist import add, remove

    members = groupable()
    assemble(members[:2], mode="grouped").save(tmp_path / "g")
    generalist = Generalist.load(tmp_path / "g")
    more = add(generalist, members[2])
    assert (generalist.recipe.mode, more.recipe.mode) == ("grouped", "grouped")
    assert remove(more, "c").recipe.digest == generalist.recipe.digest


def test_removing_a_task_leaves_the_others_routed_answers_as_they_were():
    members = [with_profile(b, 100.0 * i) for i, b in enumerate(bricks())]
    whole = Engine(assemble(members), BASE).run(pixels(), ["a"]).answers[0].probs
    fewer = Engine(assemble(members[:2]), BASE).run(pixels(), ["a"]).answers[0].probs
    torch.testing.assert_close(whole, fewer, rtol=1e-5, atol=1e-6)


def test_a_task_can_be_told_whatever_the_image_looks_like():
    generalist, shown = routable()
    (prediction,) = predict(generalist, _images(shown["dark"][:1]), base=BASE, task="bright")
    assert [answer.task.name for answer in prediction.answers] == ["bright"]
    assert prediction.route is not None
    assert prediction.route.tasks == ("dark",)


def _images(batch: Tensor):
    from medlego.images import from_array

    return [from_array((image.permute(1, 2, 0) * 255).byte().numpy()) for image in batch]


def test_without_profiles_every_task_answers_and_no_route_is_shown():
    generalist = assemble(bricks())
    (prediction,) = predict(generalist, _images(pixels(1)), base=BASE)
    assert [answer.task.name for answer in prediction.answers] == ["a", "b", "c", "d"]
    assert prediction.route is None
    with pytest.raises(GeneralistError, match="expected bricks with profiles, got none"):
        Engine(generalist, BASE).run(pixels(1))


def test_another_base_is_refused():
    other: Base = make_base(seed=1, depth=3)
    with pytest.raises(GeneralistError, match="base: expected"):
        Engine(assemble(bricks()), other)


def test_profiles_of_different_depth_are_refused_when_run():
    members = [with_profile(make_brick(n, i, base=BASE)) for i, n in enumerate("ab")]
    assert members[1].profile
    members[1] = replace(members[1], profile=replace(members[1].profile, blocks=2))
    with pytest.raises(BrickError, match="expected a profile of a stem of 1 blocks"):
        Engine(assemble(members), BASE)


def test_images_sent_elsewhere_count_as_wrong_answers():
    generalist, shown = routable()
    data = make_dataset("dark", images=24)
    answers = answer_task(Engine(generalist, BASE), "dark", Inputs(data.test.images, BASE))
    assert answers.answered is not None
    lost = ~answers.answered
    assert sum(answers.routing[k] for k in ("its own", "another task", "no answer")) == 24
    assert lost.any()
    probs = answers.scored(generalist.capability("dark").task, data.test).probs
    assert (probs[lost].argmax(axis=1) != data.test.labels[lost]).all()
    assert (probs[~lost] == answers.probs[~lost]).all()
    assert len(shown) == 2
