"""Several bricks of one task: weights, the one head, and what a generalist does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch

from factories import make_base, make_brick, make_dataset
from medlego.base import features
from medlego.bricks import Brick, Card, Head
from medlego.data import KINDS
from medlego.data.task import Code
from medlego.errors import GeneralistError, MergeError
from medlego.evaluation import evaluate
from medlego.generalist import Generalist, assemble, specialist
from medlego.merge import capabilities, conflicts, diagnose, site_weights
from medlego.prediction import predict
from medlego.train import export_model, refit_head, with_heads

BASE = make_base()
FEATURES = torch.randn(7, BASE.ref.features, generator=torch.Generator().manual_seed(3))


def site(
    seed: int,
    labels: Sequence[str] = (),
    kind: str = "multiclass",
    images: dict[str, int] | None = None,
    name: str = "brain",
) -> Brick:
    """A brick of random deltas and head whose card states counts, where given."""
    brick = make_brick(name, seed=seed, kind=kind, base=BASE, count=len(labels))
    task = brick.task.model_copy(update={"labels": tuple(labels) or brick.task.labels})
    return replace(brick, task=task, card=Card(images={"train": images} if images else {}))


def turned(brick: Brick, order: Sequence[int]) -> Brick:
    """The same classifier with its labels and rows in another order."""
    order = list(order)
    task = brick.task.model_copy(update={"labels": tuple(brick.task.labels[i] for i in order)})
    return replace(brick, task=task, head=Head(brick.head.weight[order], brick.head.bias[order]))


def shifted(brick: Brick, seed: int) -> Brick:
    """The same softmax classifier with one row added to all of its rows."""
    row = torch.randn(BASE.ref.features + 1, generator=torch.Generator().manual_seed(seed))
    return replace(brick, head=Head(brick.head.weight + row[:-1], brick.head.bias + row[-1]))


def part(brick: Brick, labels: Sequence[str]) -> Brick:
    """The rows of some labels."""
    order = [brick.task.labels.index(label) for label in labels]
    return turned(brick, order)


def answers(bricks: Sequence[Brick], sites: str = "auto") -> dict[str, torch.Tensor]:
    """Per label of the one capability its probability on fixed features."""
    (capability,) = capabilities(bricks, sites)
    probs = capability.task.rules.probabilities(capability.head.logits(FEATURES))
    return dict(zip(capability.task.labels, probs.T, strict=True))


def assert_same(predictions: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert predictions.keys() == expected.keys()
    for label, probs in expected.items():
        torch.testing.assert_close(predictions[label], probs, rtol=1e-5, atol=1e-6)


# weights ----------------------------------------------------------------------------------------
def test_counts_weigh_by_training_images() -> None:
    bricks = [site(0, images={"a": 10, "b": 20}), site(1, images={"a": 60, "c": 10})]
    assert site_weights(bricks, "counts") == (0.3, 0.7)
    assert site_weights(bricks, "auto") == (0.3, 0.7)


def test_equal_weighs_every_site_the_same() -> None:
    bricks = [site(i, images={"a": 10**i}) for i in range(4)]
    assert site_weights(bricks, "equal") == (0.25,) * 4


def test_auto_weighs_the_same_where_a_site_states_none_and_says_so() -> None:
    bricks = [site(0, images={"a": 10}), site(1)]
    assert site_weights(bricks, "auto") == (0.5, 0.5)
    (capability,) = capabilities(bricks)
    (note,) = capability.notes
    assert note == (
        f"the sites of brain weigh the same: no training counts from brain {bricks[1].digest[:12]}"
    )


@pytest.mark.parametrize("images", [None, {"a": 0, "b": 0}, {"a": 30, "b": -1}])
def test_counts_asked_for_must_be_stated(images: dict[str, int] | None) -> None:
    bricks = [site(0, images={"a": 10}), site(1, images=images)]
    with pytest.raises(MergeError, match=r"task 'brain': expected training counts.*got none from"):
        assemble(bricks, sites="counts")


def test_a_task_of_one_brick_needs_no_counts() -> None:
    assert site_weights([site(0), make_brick("other", base=BASE)], "counts") == (1.0, 1.0)


def test_weights_are_shared_within_a_task_only() -> None:
    bricks = [site(0), make_brick("other", base=BASE), site(1)]
    assert site_weights(bricks) == (0.5, 1.0, 0.5)


def test_another_word_is_refused() -> None:
    with pytest.raises(MergeError, match="sites: expected one of auto, counts, equal, got 'size'"):
        assemble([site(0)], sites="size")


# coefficients -----------------------------------------------------------------------------------
def trio() -> list[Brick]:
    return [
        site(0, images={"a": 1}),
        make_brick("other", seed=5, base=BASE),
        site(1, images={"a": 3}),
    ]


def coefficients_of(generalist: Generalist) -> list[float]:
    return [item.coefficient for item in generalist.recipe.bricks]


def test_a_capability_counts_as_one_task_to_auto() -> None:
    coefficients = coefficients_of(assemble(trio()))
    assert coefficients == pytest.approx([0.25 * 2**-0.5, 2**-0.5, 0.75 * 2**-0.5], rel=1e-12)


def test_one_task_alone_is_the_average() -> None:
    bricks = [site(i, images={"a": i + 1}) for i in range(3)]
    assert coefficients_of(assemble(bricks)) == pytest.approx([1 / 6, 2 / 6, 3 / 6], rel=1e-12)


def test_one_number_is_each_task_s_and_its_sites_share_it() -> None:
    assert coefficients_of(assemble(trio(), coefficients=0.8)) == pytest.approx([0.2, 0.8, 0.6])


def test_a_number_per_brick_is_taken_as_it_is() -> None:
    assert coefficients_of(assemble(trio(), coefficients=[1, 2, -3])) == [1.0, 2.0, -3.0]


@pytest.mark.parametrize("coefficients", [[0.2, 1, 0.6], [-1, 0.5, -2], [1, 1, -1], [0, 1, 0]])
def test_linear_is_the_sum_over_all_bricks(coefficients: list[float]) -> None:
    bricks = trio()
    deltas = assemble(bricks, coefficients=coefficients).deltas
    for name in bricks[0].deltas:
        expected = sum(
            c * b.deltas[name].dense() for c, b in zip(coefficients, bricks, strict=True)
        )
        torch.testing.assert_close(deltas[name].dense(), expected, rtol=1e-4, atol=1e-5)


def test_a_target_that_a_site_lacks_counts_as_zero() -> None:
    whole, deep = site(0), make_brick("brain", seed=1, base=BASE, stem=1)
    merged = assemble([whole, deep]).deltas["blocks.0.attn.q"].dense()
    expected = 0.5 * whole.deltas["blocks.0.attn.q"].dense()
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


def test_a_wrong_count_of_coefficients_names_the_bricks() -> None:
    with pytest.raises(MergeError, match=r"expected one per brick \(3\)"):
        assemble(trio(), coefficients=[1.0, 2.0])


# the head ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_sites_of_equal_labels_answer_with_their_mean_logits(kind: str) -> None:
    bricks = [site(i, kind=kind, images={"a": i + 1}) for i in range(3)]
    each = torch.stack([b.head.logits(FEATURES) for b in bricks])
    mean = torch.einsum("s,s...->...", torch.tensor([1 / 6, 2 / 6, 3 / 6]), each)
    expected = bricks[0].task.rules.probabilities(mean)
    (capability,) = capabilities(bricks)
    probs = capability.task.rules.probabilities(capability.head.logits(FEATURES))
    torch.testing.assert_close(probs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
@pytest.mark.parametrize("order", tuple(permutations(range(3))))
def test_permuted_labels_give_the_same_answers(kind: str, order: tuple[int, ...]) -> None:
    first, second = site(0, kind=kind), site(1, kind=kind)
    assert_same(answers([first, turned(second, order)]), answers([first, second]))


def test_a_code_decides_over_the_index() -> None:
    codes = [Code(scheme="SCT", value=str(i), meaning=f"m{i}") for i in range(3)]
    first, second = site(0, "abc"), site(1, "abc")
    first = replace(first, task=first.task.model_copy(update={"codes": tuple(codes)}))
    other = {"labels": ("x", "y", "z"), "codes": (codes[2], codes[0], codes[1])}
    coded = turned(second, [2, 0, 1])
    coded = replace(coded, task=coded.task.model_copy(update=other))
    assert_same(answers([first, coded]), answers([first, second]))


@pytest.mark.parametrize(
    "labels", [("abc", "abc"), ("abc", "abd"), ("ab", "bc", "cd"), ("ab", "cd")]
)
def test_a_softmax_head_s_own_shift_has_no_say(labels: tuple[str, ...]) -> None:
    bricks = [site(i, site_labels) for i, site_labels in enumerate(labels)]
    others = [shifted(brick, 10 + i) for i, brick in enumerate(bricks)]
    assert_same(answers(others), answers(bricks))


@pytest.mark.parametrize(
    "labels",
    [("ab", "bc", "cd", "de"), ("abc", "abd", "abe"), ("abcde", "ea"), ("ab", "cd", "ae", "de")],
)
def test_parts_of_one_head_are_that_head_again(labels: tuple[str, ...]) -> None:
    whole = site(0, "abcde")
    parts = [shifted(part(whole, site_labels), 10 + i) for i, site_labels in enumerate(labels)]
    parts = [replace(b, card=Card(images={"train": {"a": 5**i}})) for i, b in enumerate(parts)]
    probs, expected = answers(parts), answers([whole])
    assert_same(dict(sorted(probs.items())), expected)


def test_a_label_of_one_site_only_keeps_that_site_s_distance_to_what_both_know() -> None:
    first, second = site(0, "abc"), site(1, "abd")
    (capability,) = capabilities([first, second])
    logits = dict(zip(capability.task.labels, capability.head.logits(FEATURES).T, strict=True))
    own = first.head.logits(FEATURES)
    expected = own[:, 2] - own[:, :2].mean(dim=1)
    distance = logits["c"] - (logits["a"] + logits["b"]) / 2
    torch.testing.assert_close(distance, expected, rtol=1e-5, atol=1e-5)


def test_a_multilabel_label_of_one_site_only_answers_as_that_site() -> None:
    first, second = site(0, "abc", "multilabel"), site(1, "cd", "multilabel", {"c": 9})
    probs = answers([first, second])
    assert list(probs) == ["a", "b", "c", "d"]
    torch.testing.assert_close(probs["d"], second.head.logits(FEATURES)[:, 1].sigmoid())
    mean = (first.head.logits(FEATURES)[:, 2] + second.head.logits(FEATURES)[:, 0]) / 2
    torch.testing.assert_close(probs["c"], mean.sigmoid(), rtol=1e-5, atol=1e-6)


def test_labels_that_no_site_links_are_noted() -> None:
    (capability,) = capabilities([site(0, "ab"), site(1, "cd")], "equal")
    (note,) = capability.notes
    assert "no site knows labels on both sides of a, b | c, d" in note
    (linked,) = capabilities([site(0, "ab"), site(1, "cd"), site(2, "bc")], "equal")
    assert linked.notes == ()


@pytest.mark.parametrize("count", [2, 5, 9])
def test_thresholds_stay_sorted(count: int) -> None:
    bricks = []
    for seed in range(count):
        brick = make_brick("brain", seed=seed, kind="ordinal", base=BASE, count=40)
        bias = brick.head.bias.round(decimals=1)  # with ties
        bricks.append(replace(brick, head=Head(brick.head.weight, bias)))
    (capability,) = capabilities(bricks)
    assert (capability.head.bias[1:] <= capability.head.bias[:-1]).all()


def test_a_brick_alone_keeps_its_own_head_and_task() -> None:
    brick = site(0)
    (capability,) = capabilities([brick])
    assert capability.head is brick.head
    assert capability.task is brick.task


def test_the_order_of_the_sites_changes_no_answer() -> None:
    bricks = [site(0, "abc", images={"a": 1}), site(1, "cb", images={"a": 2}), site(2, "da")]
    bricks[2] = replace(bricks[2], card=Card(images={"train": {"a": 7}}))
    expected = answers(bricks)
    for order in permutations(bricks):
        probs = answers(order)
        assert_same({label: probs[label] for label in expected}, expected)


# what is refused --------------------------------------------------------------------------------
def test_sites_are_told_apart_by_digest_in_messages() -> None:
    first, second = site(0), site(1, kind="multilabel")
    (problem,) = conflicts([first, second])
    assert f"as in brick 'brain {first.digest[:12]}'" in problem
    assert f"in brick 'brain {second.digest[:12]}'" in problem


def test_one_brick_twice_is_no_second_site() -> None:
    brick = site(0)
    (problem,) = conflicts([brick, brick])
    assert "expected once, got 2 times" in problem


def test_heads_of_other_widths_are_refused() -> None:
    other = site(1)
    other = replace(other, base=other.base.model_copy(update={"features": 12}))
    assert any("expected 24 features, got 12" in p for p in conflicts([site(0), other]))


# in a generalist --------------------------------------------------------------------------------
def several() -> Generalist:
    bricks = [
        site(0, ("label-0", "label-1"), images={"label-0": 4, "label-1": 4}),
        make_brick("binary", seed=20, kind="binary", base=BASE),
        site(21, ("label-2", "label-1"), images={"label-2": 12, "label-1": 12}),
    ]
    return assemble(bricks, coefficients=0.6)


def test_tasks_are_capabilities_in_order_of_appearance() -> None:
    generalist = several()
    assert [task.name for task in generalist.tasks] == ["brain", "binary"]
    assert generalist.tasks[0].labels == ("label-0", "label-1", "label-2")


def test_the_brick_of_several_sites_is_refused() -> None:
    with pytest.raises(GeneralistError, match="task 'brain': expected one brick, got 2 sites"):
        several().brick("brain")


def test_every_label_of_every_site_is_predicted() -> None:
    image = make_dataset("brain").test.images[0]
    (prediction,) = predict(several(), [image], base=BASE, task="brain")
    (answer,) = prediction.answers
    assert answer.task.labels == ("label-0", "label-1", "label-2")
    assert sum(answer.probs) == pytest.approx(1, abs=1e-6)


def test_the_specialist_of_several_sites_is_their_mean_and_a_note_says_so() -> None:
    generalist = several()
    data = {"brain": make_dataset("brain", images=24)}
    report = evaluate(generalist, data, base=BASE, resamples=20)
    assert report.notes == ("brain: the specialist of brain is the mean of its 2 sites",)
    own = generalist.capability("brain").bricks
    mean = assemble(own, coefficients=[0.25, 0.75])
    alone = evaluate(mean, data, base=BASE, resamples=20)
    rows = {row.model: row for row in report.rows}
    assert rows["specialist"].scores == {r.model: r for r in alone.rows}["generalist"].scores


def test_a_task_of_one_brick_stands_alone_as_its_specialist() -> None:
    generalist, inputs = several(), BASE.normalise(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(
        features(generalist.alone("binary").fold(BASE), inputs),
        features(specialist(generalist.brick("binary")).fold(BASE), inputs),
        rtol=0,
        atol=0,
    )


def test_a_directory_holds_every_site_and_comes_back(tmp_path: Path) -> None:
    before = several()
    before.save(tmp_path / "g")
    after = Generalist.load(tmp_path / "g")
    assert (after.recipe, after.tasks) == (before.recipe, before.tasks)
    assert len(list((tmp_path / "g" / "bricks").iterdir())) == 3
    for reader, expected in zip(after.readers, before.readers, strict=True):
        torch.testing.assert_close(reader.head.weight, expected.head.weight, rtol=0, atol=0)
    after.save(tmp_path / "again")
    for path in (tmp_path / "g").rglob("*.*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(tmp_path / "g")
            assert other.read_bytes() == path.read_bytes()


def test_the_head_round_of_a_capability(tmp_path: Path) -> None:
    generalist, data = several(), make_dataset("brain", images=40)
    model = export_model(generalist, "brain")
    assert model.task == generalist.tasks[0]
    after = with_heads(generalist, [refit_head(model, data, base=BASE)])
    assert [item.head is None for item in after.recipe.bricks] == [False, True, False]
    after.save(tmp_path / "g")
    loaded = Generalist.load(tmp_path / "g")
    assert loaded.recipe == after.recipe
    report = evaluate(loaded, {"brain": data}, base=BASE, split="val", resamples=5)
    assert report.means["generalist"]["auroc"].value > 0.9


def test_a_head_for_one_site_s_labels_only_is_refused() -> None:
    generalist = several()
    refit = refit_head(export_model(generalist, "brain"), make_dataset("brain"), base=BASE)
    first = generalist.bricks[0]
    short = replace(refit, task=first.task, head=first.head)
    with pytest.raises(GeneralistError, match="expected the generalist's task and labels"):
        with_heads(generalist, [short])


def test_sites_are_compared_under_their_digests_and_do_not_collide() -> None:
    first = site(0)
    again = replace(first, card=Card(data="the same, elsewhere"))
    diagnosis = diagnose([first, again])
    (pair,) = diagnosis.pairs
    assert (pair.first, pair.second) == diagnosis.tasks
    assert pair.first == f"brain {first.digest[:12]}"
    assert pair.total_cosine == pytest.approx(1, abs=1e-6)
    assert diagnosis.warnings == ()
    assert len(diagnosis.spectra) == 2
