"""Evaluation: controls beside the generalist, labels by name, patients whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from factories import make_base, make_brick, make_dataset, with_measured_profile
from medlego.errors import DatasetError, GeneralistError
from medlego.evaluation import align, evaluate
from medlego.generalist import assemble
from medlego.probes import fit_probe
from medlego.report import plot_report
from medlego.scorecard import MODELS
from medlego.task import Kind

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
    report = run(kinds=tuple(map(str, Kind)))
    models = [model for model in MODELS if model != "merged, task told"]
    assert [(r.task, r.model) for r in report.rows] == [(str(k), m) for k in Kind for m in models]
    assert set(report.means) == set(models)


def test_intervals_hold_their_value():
    for row in run().rows:
        for found in row.scores.values():
            assert found.low <= found.value <= found.high


def test_the_specialist_is_its_own_measure():
    found = run().normalised["specialist"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


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
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 4


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
