"""Two models side by side, parts of the images, curves: what each says, and when it is silent."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from medlego.data import Task
from medlego.metrics import (
    Comparison,
    Interval,
    Sample,
    confusion,
    curves,
    interval,
    paired_tests,
    reliability,
    score_names,
    score_replicates,
    subgroups,
)

BINARY = Task(name="t", kind="binary", labels=("no", "yes"))
THREE = Task(name="t", kind="multiclass", labels=("a", "b", "c"))
FINDINGS = Task(name="t", kind="multilabel", labels=("a", "b"))
NAN = float("nan")
COUNT = 60


def binary(skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(COUNT) % 2
    second = np.clip(0.5 + skill * (labels - 0.5) + generator.normal(0, 0.2, COUNT), 0, 1)
    return np.stack([1 - second, second], axis=1), labels


def differences(first: Sample, second: Sample) -> dict[str, Interval]:
    names = score_names(first.task)
    one, other = (score_replicates(sample, names, resamples=100) for sample in (first, second))
    return {name: interval(one[name] - other[name]) for name in names}


def test_a_model_does_not_differ_from_itself() -> None:
    sample = Sample(BINARY, *binary(0.3))
    for own in score_replicates(sample, score_names(BINARY), resamples=100).values():
        assert interval(own - own) == Interval(0.0, 0.0, 0.0)
    assert [test.p_value for test in paired_tests(sample, sample)] == [1.0, 1.0]


def test_a_better_model_is_better_beyond_chance() -> None:
    (first, labels), (second, _) = binary(0.6), binary(0.1, seed=1)
    good, poor = Sample(BINARY, first, labels), Sample(BINARY, second, labels)
    assert differences(good, poor)["auroc"].low > 0
    assert paired_tests(good, poor)[0].p_value < 0.01


def test_a_paired_interval_is_narrower_than_two_apart() -> None:
    (probs, labels), noise = binary(0.3), np.random.default_rng(2).normal(0, 0.02, (COUNT, 1))
    other = np.clip(probs + np.concatenate([-noise, noise], axis=1), 0, 1)
    both = [Sample(BINARY, np.tile(p, (40, 1)), np.tile(labels, 40)) for p in (probs, other)]
    paired, alone = differences(*both)["auroc"], interval(score_replicates(both[0])["auroc"])
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_mcnemar_is_the_binomial_test_of_images_that_one_alone_gets_right() -> None:
    (first, labels), (second, _) = binary(0.6), binary(0.1, seed=1)
    right = [p.argmax(axis=1) == labels for p in (first, second)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    mcnemar = paired_tests(Sample(BINARY, first, labels), Sample(BINARY, second, labels))[-1]
    assert (mcnemar.name, mcnemar.label) == ("mcnemar", "all")
    assert mcnemar.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue, rel=1e-12)
    assert mcnemar.difference == pytest.approx((only[0] - only[1]) / COUNT, rel=1e-12)


def test_mcnemar_is_silent_where_patients_have_several_images() -> None:
    (first, labels), (second, _) = binary(0.6), binary(0.1, seed=1)
    patients = np.arange(COUNT) // 2
    tests = paired_tests(
        Sample(BINARY, first, labels, patients), Sample(BINARY, second, labels, patients)
    )
    assert [math.isnan(test.p_value) for test in tests] == [False, True]


def test_each_finding_has_its_own_tests_on_the_images_where_it_is_known() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 30, 2))
    labels = generator.integers(0, 2, (30, 2)).astype(float)
    labels[:, 1] = NAN
    tests = paired_tests(Sample(FINDINGS, first, labels), Sample(FINDINGS, second, labels))
    assert [(test.name, test.label) for test in tests] == [
        ("delong", "a"),
        ("delong", "b"),
        ("mcnemar", "a"),
        ("mcnemar", "b"),
    ]
    assert [math.isnan(test.p_value) for test in tests] == [False, True, False, True]
    written = json.loads(json.dumps(Comparison(30, {}, tests).as_dict()))
    assert written["tests"][1]["p_value"] is None


def test_thresholds_decide_what_is_right() -> None:
    probs, labels = binary(0.3)
    strict = Sample(BINARY, probs, labels, thresholds=np.array([0.9]))
    intervals = differences(Sample(BINARY, probs, labels), strict)
    assert intervals["sensitivity"].value > 0
    assert intervals["auroc"].value == 0


def grouped(probs: np.ndarray, labels: np.ndarray) -> Sample:
    return Sample(BINARY, probs, labels, patients=np.arange(COUNT) // 2)


def test_every_stated_group_has_a_row_with_images_and_patients() -> None:
    probs, labels = binary(0.3)
    sex = np.array(["f"] * 40 + ["m"] * 10 + [""] * 10)
    rows = subgroups(grouped(probs, labels), {"sex": sex}, resamples=20)
    assert [(r.group, r.value, r.images, r.patients, r.small) for r in rows] == [
        ("sex", "f", 40, 20, False),
        ("sex", "m", 10, 5, True),
    ]
    part = Sample(BINARY, probs[:40], labels[:40], np.arange(40) // 2)
    expected = score_replicates(part, resamples=20)
    assert rows[0].scores == {name: interval(drawn) for name, drawn in expected.items()}


def test_without_ids_a_group_counts_no_patients() -> None:
    (row,) = subgroups(Sample(BINARY, *binary(0.3)), {"site": np.array(["x"] * COUNT)}, resamples=2)
    assert row.patients is None
    assert json.loads(json.dumps(row.as_dict()))["auroc"]["value"] == row.scores["auroc"].value


def test_the_area_under_the_curves_points_is_the_score() -> None:
    probs, labels = binary(0.3)
    probs = np.round(probs, 1)
    (curve,) = curves(Sample(BINARY, probs, labels))
    area = np.trapezoid(curve.sensitivity, 1 - curve.specificity)
    steps = (np.diff(curve.sensitivity) * curve.precision[1:]).sum()
    assert area == pytest.approx(roc_auc_score(labels, probs[:, 1]), rel=1e-12)
    assert steps == pytest.approx(average_precision_score(labels, probs[:, 1]), rel=1e-12)


def test_a_curves_threshold_calls_the_images_that_it_says() -> None:
    probs, labels = binary(0.3)
    (curve,) = curves(Sample(BINARY, probs, labels))
    called = probs[:, 1] >= curve.thresholds[7]
    assert curve.sensitivity[7] == pytest.approx(called[labels == 1].mean(), rel=1e-12)
    assert curve.specificity[7] == pytest.approx(1 - called[labels == 0].mean(), rel=1e-12)


def test_a_label_that_never_occurs_has_no_curve() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    label_curves = curves(Sample(THREE, probs, np.arange(20) % 2))
    assert [curve.label for curve in label_curves] == ["a", "b"]


def test_the_confusion_matrix_is_sklearns() -> None:
    generator = np.random.default_rng(0)
    probs, labels = generator.dirichlet(np.ones(3), 50), generator.integers(0, 3, 50)
    matrix = confusion(Sample(THREE, probs, labels))["t"]
    expected = confusion_matrix(labels, probs.argmax(axis=1), labels=range(3))
    np.testing.assert_array_equal(matrix, expected)


def test_findings_have_a_matrix_each_of_known_images() -> None:
    probs = np.array([[0.9, 0.2], [0.8, 0.7], [0.1, 0.6]])
    labels = np.array([[1, NAN], [0, 1], [0, NAN]])
    matrices = confusion(Sample(FINDINGS, probs, labels))
    assert {label: matrix.tolist() for label, matrix in matrices.items()} == {
        "a": [[1, 1], [0, 1]],
        "b": [[0, 0], [0, 1]],
    }


def test_a_reliability_diagram_counts_every_image_once() -> None:
    probs, labels = binary(0.3)
    (diagram,) = reliability(Sample(BINARY, probs, labels))
    assert sum(part.images for part in diagram.bins) == COUNT
    full = [part for part in diagram.bins if part.images]
    hits = sum(part.images * part.accuracy for part in full)
    assert hits == pytest.approx(labels.sum(), rel=1e-12)
    assert all(p.low <= p.confidence <= p.high for p in full)
    assert all(p.accuracy_low <= p.accuracy <= p.accuracy_high for p in full)
    assert len(diagram.bins) == 15


def test_an_empty_bin_says_nothing() -> None:
    probs, labels = np.array([[0.9, 0.1], [0.95, 0.05]]), np.array([0, 1])
    (diagram,) = reliability(Sample(BINARY, probs, labels))
    assert diagram.bins[2].images == 0
    assert math.isnan(diagram.bins[2].accuracy)
