"""How scores treat draws, patients, gaps and intervals; values are the oracle's business."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from medlego.data import Task
from medlego.metrics import (
    MAIN_SCORES,
    SCORES,
    Interval,
    Replicates,
    Sample,
    bootstrap,
    interval,
    point_scores,
    score_names,
    score_replicates,
)

BINARY = Task(name="t", kind="binary", labels=("no", "yes"))
THREE = Task(name="t", kind="multiclass", labels=("a", "b", "c"))
FINDINGS = Task(name="t", kind="multilabel", labels=("a", "b"))
NAN = float("nan")


def random_binary(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(count)
    return np.stack([1 - positive, positive], axis=1), generator.integers(0, 2, count)


def drawn(count: int, resamples: int, patients: np.ndarray | None = None) -> np.ndarray:
    """Weights (1 + resamples, count)."""
    numbers = bootstrap.patient_numbers(count, patients)
    return np.concatenate(list(bootstrap.draws(numbers, resamples, seed=0)))


def test_first_draw_is_the_sample_itself() -> None:
    assert (drawn(9, 5)[0] == 1).all()


def test_each_draw_has_as_many_images_as_the_sample() -> None:
    assert (drawn(9, 50).sum(axis=1) == 9).all()


def test_draws_are_the_same_however_small_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(9, 50)
    monkeypatch.setattr(bootstrap, "BLOCK", 30)
    parts = list(bootstrap.draws(np.arange(9), 50, seed=0))
    assert max(map(len, parts)) == 3
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_patients_are_drawn_whole() -> None:
    patients = np.array(["x", "y", "x", "z", "z", "z"])
    weights = drawn(6, 50, patients)
    assert all(
        (weights[:, patients == p][:, 0] == weights[:, patients == p].T).all() for p in "xyz"
    )


def test_each_draw_has_as_many_patients_as_the_sample() -> None:
    patients = np.array(["x", "y", "x", "z", "z", "z"])
    first_images = [0, 1, 3]
    assert (drawn(6, 50, patients)[:, first_images].sum(axis=1) == 3).all()


def test_equal_seeds_draw_equal_images_for_two_models() -> None:
    (probs, labels), (others, _) = random_binary(seed=0), random_binary(seed=1)
    both = np.concatenate([probs, others]), np.concatenate([labels, labels])
    patients = np.tile(np.arange(len(labels)), 2)
    first, second, paired = (
        score_replicates(sample, resamples=30, seed=4)["accuracy"].values
        for sample in (
            Sample(BINARY, probs, labels),
            Sample(BINARY, others, labels),
            Sample(BINARY, *both, patients),
        )
    )
    np.testing.assert_allclose((first + second) / 2, paired, rtol=1e-12, atol=0)


def test_other_seeds_draw_other_images() -> None:
    sample = Sample(BINARY, *random_binary())
    first, second = (
        score_replicates(sample, resamples=30, seed=seed)["auroc"].values for seed in (0, 1)
    )
    assert (first[1:] != second[1:]).any()


def scores(sample: Sample, resamples: int) -> dict[str, Interval]:
    replicates = score_replicates(sample, resamples=resamples)
    return {name: interval(values) for name, values in replicates.items()}


def test_scores_have_every_name_with_an_interval_around_the_value() -> None:
    result = scores(Sample(BINARY, *random_binary()), 200)
    assert tuple(result) == MAIN_SCORES
    assert all(i.low <= i.value <= i.high for i in result.values())


def test_whole_patients_widen_the_interval() -> None:
    probs, labels = random_binary(20)
    patients = np.repeat(np.arange(20), 5)
    probs, labels = np.repeat(probs, 5, axis=0), np.repeat(labels, 5)
    naive = scores(Sample(BINARY, probs, labels), 300)["accuracy"]
    honest = scores(Sample(BINARY, probs, labels, patients), 300)["accuracy"]
    assert honest.high - honest.low > 1.5 * (naive.high - naive.low)


def test_absent_class_is_left_out_of_balanced_accuracy() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    labels = np.array([0, 1, 1])
    assert point_scores(THREE, probs, labels)["balanced_accuracy"] == 0.75


def test_auroc_is_nan_where_only_one_class_is_present() -> None:
    probs, labels = random_binary()
    assert np.isnan(point_scores(BINARY, probs, np.zeros_like(labels))["auroc"])


def test_replicates_without_one_class_are_nan_and_left_out_of_the_interval() -> None:
    probs, labels = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 1])
    replicates = score_replicates(Sample(BINARY, probs, labels), resamples=50)["auroc"]
    gone = int(np.isnan(replicates.values).sum())
    score = interval(replicates)
    assert (score.value, score.high, score.undefined) == (1.0, 1.0, gone)
    assert gone


def test_unknown_cells_do_not_count() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.6], [0.4, 0.8]])
    labels = np.array([[1, NAN], [0, 1], [NAN, 0]])
    assert point_scores(FINDINGS, probs, labels)["accuracy"] == 0.75


def test_replicates_of_unknown_cells_alone_are_nan() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.6]])
    labels = np.array([[1, 0], [NAN, NAN]])
    replicates = score_replicates(Sample(FINDINGS, probs, labels), resamples=50)["accuracy"]
    assert np.isnan(replicates.values).any()
    assert np.nanmin(replicates.values) == 1.0


@pytest.mark.parametrize("labels", [[[NAN, NAN]] * 3, [[1, 1]] * 3], ids=["unknown", "one-sided"])
def test_multilabel_without_both_sides_has_no_auroc(labels: list[list[float]]) -> None:
    result = point_scores(FINDINGS, np.full((3, 2), 0.7), np.array(labels))
    assert np.isnan(result["auroc"])


def plain(values: list[float]) -> Replicates:
    array = np.array(values)
    return Replicates(array, array, array)


def test_interval_is_the_two_sided_percentile_one() -> None:
    score = interval(plain([0.5, *np.linspace(0, 1, 1001)]), level=0.9)
    assert (score.value, score.low, score.high) == pytest.approx((0.5, 0.05, 0.95), rel=1e-9)


def test_interval_without_resamples_has_no_bounds() -> None:
    score = interval(plain([0.5]))
    assert score.value == 0.5
    assert np.isnan([score.low, score.high]).all()


def test_interval_reads_as_a_table_cell() -> None:
    assert str(Interval(0.12345, 0.1, 0.15)) == "0.123 [0.100, 0.150]"


def certain(labels: np.ndarray, count: int, wrong: int = 0) -> np.ndarray:
    """Probabilities that answer all but some images right."""
    answers = labels.copy()
    answers[:wrong] = (answers[:wrong] + 1) % count
    return np.eye(count)[answers] * 0.8 + 0.2 / count


@pytest.mark.parametrize("count", [1, 2, 12, 60, 400])
@pytest.mark.parametrize("right", [True, False])
def test_unanimous_answers_have_the_interval_of_clopper_and_pearson(count, right):
    labels = np.arange(count) % 3
    sample = Sample(THREE, certain(labels, 3, 0 if right else count), labels)
    score = scores(sample, 2000)["accuracy"]
    exact = binomtest(count * right, count).proportion_ci(0.95, method="exact")
    assert (score.low, score.high) == pytest.approx((exact.low, exact.high), abs=1e-3)


@pytest.mark.parametrize("wrong", [1, 5, 20])
def test_other_answers_have_nearly_that_interval(wrong):
    labels = np.arange(100) % 3
    score = scores(Sample(THREE, certain(labels, 3, wrong), labels), 4000)["accuracy"]
    exact = binomtest(100 - wrong, 100).proportion_ci(0.95, method="exact")
    assert (score.low, score.high) == pytest.approx((exact.low, exact.high), abs=0.012)


def test_no_score_that_has_bounds_is_sure_of_itself_on_few_images():
    labels = np.array([0, 1] * 3)
    sample = Sample(BINARY, certain(labels, 2), labels)
    replicates = score_replicates(sample, score_names(BINARY), resamples=500)
    widths = {name: interval(own).high - interval(own).low for name, own in replicates.items()}
    assert widths.pop("log_loss") < 1e-9  # nothing bounds what an unseen image may lose
    assert min(widths.values()) > 0.2


@pytest.mark.parametrize("name", ["accuracy", "brier", "ece"])
def test_unknown_cells_prove_nothing(name):
    labels, probs = np.full((1000, 2), NAN), np.full((1000, 2), 0.9)
    labels[:4, 0] = 1
    (score,) = score_replicates(Sample(FINDINGS, probs, labels), [name], resamples=2000).values()
    assert interval(score).high - interval(score).low > 0.5


@pytest.mark.parametrize("positive", [0, 1])
def test_f1_of_one_side_alone_has_an_interval(positive):
    labels = np.full(12, positive)
    probs = certain(labels, 2, wrong=1 - positive)
    (score,) = score_replicates(Sample(BINARY, probs, labels), ["f1"], resamples=2000).values()
    assert interval(score).high - interval(score).low > 0.2


def test_several_images_of_one_patient_prove_no_more_than_one():
    labels = np.array([0, 1] * 10)
    score = scores(Sample(BINARY, certain(labels, 2), labels, np.zeros(20)), 2000)["accuracy"]
    assert score.low == pytest.approx(0.025, abs=1e-3)


def test_a_score_rests_on_its_own_side_of_a_label():
    labels = np.repeat([0, 1], [300, 3])
    sample = Sample(BINARY, certain(labels, 2), labels)
    drawn = score_replicates(sample, ("sensitivity", "specificity"), resamples=2000)
    lows = {name: interval(own).low for name, own in drawn.items()}
    expected = {"sensitivity": 0.025 ** (1 / 3), "specificity": 0.025 ** (1 / 300)}
    assert lows == pytest.approx(expected, abs=5e-3)


def test_two_models_that_agree_may_still_differ_on_an_image_that_was_not_seen():
    labels = np.array([0, 1, 1, 0, 0])
    one, other = (
        score_replicates(Sample(BINARY, certain(labels, 2, 1), labels), resamples=2000)["accuracy"]
        for _ in range(2)
    )
    change = interval(one - other)
    assert change.value == 0
    assert change.low == pytest.approx(0.025 ** (1 / 5) - 1, abs=1e-3)
    assert change.high == pytest.approx(-change.low, abs=1e-9)


def test_one_patient_has_no_interval_where_a_score_has_no_bounds():
    labels = np.array([0, 1])
    sample = Sample(BINARY, certain(labels, 2), labels, np.array(["x", "x"]))
    (score,) = score_replicates(sample, ["log_loss"], resamples=20).values()
    assert np.isnan([interval(score).low, interval(score).high]).all()


def test_scoring_does_not_change_its_arguments() -> None:
    probs, labels = random_binary()
    before = probs.copy(), labels.copy()
    scores(Sample(BINARY, probs, labels), 5)
    assert (probs == before[0]).all()
    assert (labels == before[1]).all()


def test_an_undefined_value_reads_as_such() -> None:
    assert str(Interval(NAN, NAN, NAN)) == "undefined"
    assert Interval(NAN, NAN, NAN).as_dict() == {"value": None, "low": None, "high": None}


def test_an_interval_says_how_many_draws_are_undefined() -> None:
    score = interval(plain([0.5, 0.4, NAN, 0.6, NAN]))
    assert score.undefined == score.as_dict()["undefined"] == 2
    assert str(score).endswith("(2 draws undefined)")


def test_an_undefined_value_has_no_interval_whatever_draws_say() -> None:
    assert np.isnan(interval(plain([NAN, 0.4, 0.6])).low)


@pytest.mark.parametrize(("name", "words"), [("auroc", "AUROC"), ("log_loss", "log loss")])
def test_scores_have_names_that_people_write(name: str, words: str) -> None:
    assert SCORES[name].title == words
