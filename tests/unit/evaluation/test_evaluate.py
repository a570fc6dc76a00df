"""Evaluation: controls beside the generalist, labels by name, patients whole."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from factories import (
    make_base,
    make_brick,
    make_dataset,
    make_task,
    with_calibration,
    with_measured_profile,
)
from medlego.data import KINDS, align
from medlego.errors import DatasetError, GeneralistError
from medlego.evaluation import evaluate, plot_report
from medlego.evaluation.probes import fit_probe
from medlego.evaluation.result import MODELS
from medlego.evaluation.task_detail import Draws
from medlego.generalist import assemble, specialist
from medlego.metrics import PROBABILISTIC, OperatingPoint, point_scores, score_names
from medlego.prediction import TaskAnswers

SEED = 20
"""Random bricks with skill above zero, so that ratios exist."""


def setting(kinds=("multiclass", "binary")):
    base = make_base()
    bricks = [make_brick(k, seed=SEED + i, kind=k, base=base) for i, k in enumerate(kinds)]
    data = {k: make_dataset(k, seed=i, kind=k, images=24) for i, k in enumerate(kinds)}
    return base, assemble(bricks, coefficients=0.6), data


def run(split="test", kinds=("multiclass", "binary"), **more):
    base, generalist, data = setting(kinds)
    return evaluate(generalist, data, base=base, split=split, resamples=50, **more)


def test_every_model_is_scored_on_every_task():
    report = run(kinds=tuple(KINDS))
    models = [model for model in MODELS if model != "merged, task given"]
    assert [(r.task, r.model) for r in report.rows] == [(k, m) for k in KINDS for m in models]
    assert set(report.means) == set(models)


def test_intervals_hold_their_value():
    for row in run().rows:
        for score in row.scores.values():
            assert score.low <= score.value <= score.high


def test_the_specialist_is_its_own_measure():
    score = run().normalised["specialist"]
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)


def test_normalised_accuracy_is_the_mean_of_the_ratios():
    report = run()
    score = {(r.task, r.model): r.scores["balanced_accuracy"].value for r in report.rows}
    ratios = [score[t, "generalist"] / score[t, "specialist"] for t in ("multiclass", "binary")]
    assert report.normalised["generalist"].value == pytest.approx(np.mean(ratios), rel=1e-9)


def test_the_same_seed_gives_the_same_report():
    assert run(seed=3).as_dict() == run(seed=3).as_dict()


def test_all_images_can_be_scored_without_a_probe():
    report = run(split="all")
    assert {row.images for row in report.rows} == {72}
    assert "linear probe" not in report.means


def test_a_report_is_json_and_a_picture(tmp_path):
    report = run()
    assert json.loads(json.dumps(report.as_dict()))["split"] == "test"
    plot_report(report, tmp_path / "report.png", title="title", note="note")
    with Pillow.open(tmp_path / "report.png") as picture:
        assert picture.size[0] > 500
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 4


def test_an_unknown_task_is_refused():
    base, generalist, data = setting()
    with pytest.raises(GeneralistError, match="expected one of multiclass, binary"):
        evaluate(generalist, {"chest": data["binary"]}, base=base)


@pytest.mark.parametrize("split", ["tests", ""])
def test_an_unknown_split_is_refused(split):
    base, generalist, data = setting()
    with pytest.raises(DatasetError, match="expected train, val, test or all"):
        evaluate(generalist, data, base=base, split=split)


def with_labels(data, labels):
    return replace(data, task=data.task.model_copy(update={"labels": labels}))


def test_labels_are_matched_by_name_not_by_index():
    data = make_dataset()
    turned = with_labels(data, ("label-2", "label-0", "label-1"))
    aligned, notes = align(turned, data.task)
    np.testing.assert_array_equal(aligned.test.labels, np.array([2, 0, 1])[data.test.labels])
    assert notes == ()


def test_a_label_that_the_task_lacks_is_refused():
    data = make_dataset()
    with pytest.raises(DatasetError, match="got also else; rename"):
        align(with_labels(data, ("label-0", "label-1", "else")), data.task)


def test_unnamed_classes_are_taken_in_order_and_said_so():
    data = make_dataset()
    aligned, notes = align(with_labels(data, ("class 0", "class 1", "class 2")), data.task)
    np.testing.assert_array_equal(aligned.val.labels, data.val.labels)
    assert "numbers were taken" in notes[0]


def test_multilabel_labels_that_the_data_lack_are_unknown():
    data = make_dataset(kind="multilabel")
    short = replace(
        with_labels(data, ("label-2", "label-0")),
        **{
            s: replace(data.split(s), labels=data.split(s).labels[:, :2])
            for s in ("train", "val", "test")
        },
    )
    aligned, _ = align(short, data.task)
    assert np.isnan(aligned.test.labels[:, 1]).all()
    np.testing.assert_array_equal(aligned.test.labels[:, 2], data.test.labels[:, 0])


def test_multilabel_data_do_not_fit_a_multiclass_task():
    with pytest.raises(DatasetError, match="expected multiclass labels, got multilabel"):
        align(make_dataset(kind="multilabel"), make_dataset().task)


def test_a_probe_separates_what_is_linearly_separable():
    task = make_dataset().task
    generator = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.eye(3)[y] * 4 + generator.normal(size=(60, 3))
    probe = fit_probe(task, (x, y), (x, y))
    assert (probe.probs(x).argmax(axis=1) == y).mean() > 0.9


def test_a_probe_gives_zero_to_a_class_it_never_saw():
    task = make_dataset().task
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    assert fit_probe(task, (x, y), (x, y)).probs(x)[:, 2].tolist() == [0.0] * 20


def test_where_one_task_of_several_has_a_profile_every_task_has_every_row():
    base, generalist, data = setting()
    known, *others = generalist.bricks
    known = with_measured_profile(known, base, data[known.task.name])
    report = evaluate(assemble([known, *others]), data, base=base, resamples=5)
    models = {task: {r.model for r in report.rows if r.task == task} for task in data}
    assert set(map(len, models.values())) == {len(MODELS)}
    assert set(report.routing) == {known.task.name}


def grouped(data):
    """The same with a sex per image."""
    sexes = np.array(["f", "m"] * 12)
    return replace(data, test=replace(data.test, groups={"sex": sexes}))


def test_every_score_of_a_kind_stands_in_its_rows():
    for row in run(kinds=tuple(KINDS)).rows:
        assert set(row.scores) == set(score_names(make_task(kind=row.task)))


def test_details_hold_what_pages_draw():
    report = run()
    detail = report.tasks["multiclass"]
    assert set(detail.answers) == set(report.means)
    assert detail.sample("specialist").probs.shape == (24, 3)
    assert set(detail.labels) == set(detail.areas) == {"label-0", "label-1", "label-2"}
    assert len(detail.samples) == 24


def test_a_labels_score_is_the_mean_over_labels():
    report = run()
    (row,) = (r for r in report.rows if (r.task, r.model) == ("multiclass", "generalist"))
    parts = [scores["auroc"].value for scores in report.tasks["multiclass"].labels.values()]
    assert row.scores["auroc"].value == pytest.approx(np.mean(parts), rel=1e-12)


def test_the_difference_to_the_specialist_is_that_of_the_rows():
    report = run()
    score = {(r.task, r.model): r.scores["auroc"].value for r in report.rows}
    difference = report.tasks["binary"].comparison.differences["auroc"]
    expected = score["binary", "generalist"] - score["binary", "specialist"]
    assert difference.value == pytest.approx(expected, rel=1e-12)


def test_subgroups_are_scored_where_they_are_stated():
    base, generalist, data = setting()
    data["binary"] = grouped(data["binary"])
    report = evaluate(generalist, data, base=base, resamples=5)
    assert [(g.group, g.value, g.images) for g in report.tasks["binary"].groups] == [
        ("sex", "f", 12),
        ("sex", "m", 12),
    ]
    assert report.tasks["multiclass"].groups == ()


def test_csv_has_a_line_per_score_of_models_labels_and_groups():
    base, generalist, data = setting()
    data["binary"] = grouped(data["binary"])
    report = evaluate(generalist, data, base=base, resamples=5)
    lines = list(csv.DictReader(io.StringIO(report.as_csv())))
    auroc = [line for line in lines if line["score"] == "auroc" and line["task"] == "binary"]
    assert {(line["model"], line["part"]) for line in auroc} == {
        *((model, "") for model in report.means),
        ("generalist", "label=label-1"),
        ("generalist", "sex=f"),
        ("generalist", "sex=m"),
    }
    (row,) = (r for r in report.rows if (r.task, r.model) == ("binary", "generalist"))
    assert float(auroc[0]["value"]) == row.scores["auroc"].value


def test_json_says_nothing_of_single_images():
    document = run().as_dict()
    assert max(map(len, lists(document))) <= max(15, len(document["rows"]))


def lists(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from lists(inner)
    elif isinstance(value, list):
        yield value
        for inner in value:
            yield from lists(inner)


def test_a_merge_of_calibrated_bricks_says_that_it_is_not():
    base, generalist, data = setting()
    bricks = [with_calibration(brick) for brick in generalist.bricks]
    report = evaluate(assemble(bricks, coefficients=0.6), data, base=base, resamples=5)
    states = {r.model: r.state for r in report.rows if r.task == "binary"}
    assert (states["generalist"], states["specialist"]) == ("stale", "calibrated")
    assert states["base with specialist's head"] == "stale"
    assert any("not calibrated" in note for note in report.notes)


def test_a_specialist_is_scored_at_its_operating_point():
    base, generalist, data = setting(("binary",))
    point = OperatingPoint(aim="sensitivity", value=0.9, thresholds=(1e-9,))
    brick = with_calibration(generalist.bricks[0], point)
    report = evaluate(specialist(brick), data, base=base, resamples=5)
    (row,) = (r for r in report.rows if r.model == "generalist")
    assert row.scores["sensitivity"].value == 1.0
    assert row.scores["specificity"].value == 0.0
    document: Any = report.as_dict()
    task = document["tasks"]["binary"]
    assert task["operating_point"] == {"aim": "sensitivity", "value": 0.9}
    assert task["thresholds"] == {"label-1": 1e-9}


def test_probabilities_are_judged_on_the_images_that_are_answered():
    data, generator = make_dataset(images=24), np.random.default_rng(0)
    probs, answered = generator.dirichlet(np.ones(3), 24), np.arange(24) % 3 > 0
    answers, labels = TaskAnswers(probs, answered), data.test.labels
    scores = Draws(5, 0).scores(data.task, data.test, answers)
    rows = np.flatnonzero(answered)
    expected = point_scores(data.task, probs[rows], labels[rows], ["brier", "accuracy"])
    assert scores["brier"].values[0] == pytest.approx(expected["brier"], rel=1e-12)
    right = expected["accuracy"] * len(rows)
    assert scores["accuracy"].values[0] == pytest.approx(right / 24, rel=1e-12)


def test_where_nothing_is_answered_probabilities_are_undefined():
    data = make_dataset(images=24)
    answers = TaskAnswers(np.full((24, 3), 1 / 3), np.zeros(24, dtype=bool))
    scores = Draws(5, 0).scores(data.task, data.test, answers)
    assert scores["accuracy"].values.tolist() == [0.0] * 6
    assert all(np.isnan(scores[name].values).all() for name in PROBABILISTIC)


def test_a_group_of_too_many_values_is_left_out_and_said_so():
    base, generalist, data = setting(("multiclass",))
    many = np.array([f"scan {i}" for i in range(48)])
    for task, dataset in data.items():
        test = make_dataset("multiclass", seed=0, kind="multiclass", images=48).test
        assert len(test) == 48
        parts = replace(test, groups={"sex": np.repeat(["F", "M"], 24), "series": many})
        data[task] = replace(dataset, test=parts)
    detail = evaluate(generalist, data, base=base, resamples=10).tasks["multiclass"]
    assert {row.group for row in detail.groups} == {"sex"}
    assert any("no scores by series: it has 48 values" in note for note in detail.notes)
