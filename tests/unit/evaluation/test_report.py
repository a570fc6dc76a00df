"""The report: charts, the most confident errors, and the page that holds them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from factories import make_base, make_brick, make_dataset
from medlego.data import Task, fingerprint
from medlego.evaluation import evaluate, find_examples, write_page
from medlego.evaluation.report import charts
from medlego.evaluation.report.examples import confident_errors
from medlego.evaluation.result import MODELS
from medlego.generalist import assemble
from medlego.metrics import Interval, Sample, curves, reliability, subgroups
from medlego.prediction import TaskAnswers

KINDS = ("multiclass", "binary", "multilabel")
EVIL = "<script>alert(1)</script>"


def grouped(data):
    count = len(data.test)
    return replace(
        data,
        test=replace(
            data.test,
            groups={"site": np.array(["north", "south"])[np.arange(count) % 2]},
            patients=np.array([f"secret-{i // 2}" for i in range(count)]),
        ),
    )


@cache
def setting():
    base = make_base()
    bricks = [make_brick(k, seed=20 + i, kind=k, base=base) for i, k in enumerate(KINDS)]
    data = {k: grouped(make_dataset(k, seed=i, kind=k, images=24)) for i, k in enumerate(KINDS)}
    generalist = assemble(bricks, coefficients=0.6)
    return base, generalist, evaluate(generalist, data, base=base, resamples=20)


def page(tmp_path, **more):
    path = tmp_path / "page.html"
    write_page(setting()[2], path, **more)
    return path.read_text()


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    task = Task(name="x", kind="multiclass", labels=("a$b$", "b & c", EVIL))
    labels = np.arange(60) % 3
    logits = rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels]
    probs = np.exp(logits)
    return Sample(task, probs / probs.sum(axis=1, keepdims=True), labels)


def test_charts_repeat_to_the_byte(sample):
    for draw, values in (
        (charts.draw_roc, curves(sample)),
        (charts.draw_reliability, reliability(sample)),
    ):
        assert charts.svg(draw, values) == charts.svg(draw, values)


def test_labels_stay_text_and_are_never_markup(sample):
    drawn = charts.svg(charts.draw_confusion, np.eye(3, dtype=int), sample.task.labels)
    assert "a$b$" in drawn
    assert "b &amp; c" in drawn
    assert "<script" not in drawn


def test_a_group_without_a_value_is_said_to_have_none(sample):
    rows = subgroups(sample, {"site": np.repeat(["n", "s"], 30)}, resamples=10)
    gone = replace(rows[0], scores={"auroc": Interval(math.nan, math.nan, math.nan)})
    assert "undefined" in charts.svg(charts.draw_groups, [gone], "auroc", Interval(0.5, 0.4, 0.6))


def test_many_labels_are_told_apart(sample):
    (curve, *_) = curves(sample)
    drawn = charts.svg(charts.draw_roc, [replace(curve, label=f"label {i}") for i in range(20)])
    looks = {(charts._line(i)["color"], charts._line(i)["linestyle"]) for i in range(20)}
    assert len(looks) == 20
    assert all(f"label {i}" in drawn for i in range(20))


@pytest.mark.parametrize("names", [("_", "_b", "plain"), ("_", "_b", "__c")])
def test_labels_that_begin_with_an_underscore_are_in_the_legend(sample, names):
    lines = [replace(one, label=name) for one, name in zip(curves(sample), names, strict=True)]
    bins = [replace(reliability(sample)[0], label=name) for name in names]
    shown = [f"\u200b{name}" if name[0] == "_" else name for name in names]
    for svg in (
        charts.svg(charts.draw_roc, lines),
        charts.svg(charts.draw_precision_recall, lines, [0.1, 0.2, 0.3]),
        charts.svg(charts.draw_reliability, bins),
    ):
        assert re.findall(r"<text[^>]*>([^<]*)</text>", svg)[-3:] == shown


def test_the_confident_errors_are_wrong_and_the_surest_first():
    detail = setting()[2].tasks["multiclass"]
    errors = confident_errors(detail, 5)
    labels, probs = detail.samples.labels, detail.answers[MODELS[0]].probs
    assert errors
    for error in errors:
        assert detail.task.labels[labels[error.index]] == error.truth != error.answer
        assert error.prob == probs[error.index].max()
    assert [e.prob for e in errors] == sorted((e.prob for e in errors), reverse=True)


def test_an_image_that_was_not_answered_is_no_error():
    detail = setting()[2].tasks["multiclass"]
    own = detail.answers[MODELS[0]]
    first = confident_errors(detail, 1)[0].index
    answered = np.arange(len(detail.samples)) != first
    answers = {**detail.answers, MODELS[0]: TaskAnswers(own.probs, answered, own.thresholds)}
    errors = confident_errors(replace(detail, answers=answers), 99)
    assert len(errors) == len(confident_errors(detail, 99)) - 1
    assert first not in [error.index for error in errors]


def test_an_error_of_several_labels_says_what_was_missed():
    detail = setting()[2].tasks["multilabel"]
    for error in confident_errors(detail, 99):
        column = detail.task.labels.index(error.label)
        truth = detail.samples.labels[error.index, column]
        assert error.truth == ("present" if truth else "absent")
        assert error.answer != error.truth


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    base, generalist, report = setting()
    text = page(tmp_path, examples=find_examples(report, generalist, base=base, count=2))
    assert text.count("data:image/png;base64,") >= 4
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", text) == []
    assert "url(" not in text
    assert "<script" not in text


def test_every_picture_is_described_in_words(tmp_path):
    text = page(tmp_path)
    pictures = re.findall(r"<img [^>]*>", text)
    assert len(pictures) > 8
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)


def test_the_page_says_what_was_made_of_what_and_tested_on_what(tmp_path):
    _, generalist, report = setting()
    text = page(tmp_path)
    digests = [generalist.recipe.digest, generalist.base.fingerprint]
    digests += [brick.digest for brick in generalist.bricks]
    digests += [fingerprint(detail.samples) for detail in report.tasks.values()]
    assert [item for item in digests if item not in text] == []


def test_the_page_names_no_patient(tmp_path):
    assert "secret" not in page(tmp_path)


def test_a_page_with_images_of_patients_says_so(tmp_path):
    base, generalist, report = setting()
    warning = "This page holds images"
    assert warning not in page(tmp_path)
    shown = find_examples(report, generalist, base=base, count=1)
    assert warning in page(tmp_path, examples=shown)


def test_pages_repeat_to_the_byte(tmp_path):
    assert page(tmp_path) == page(tmp_path)


def test_text_from_outside_is_escaped(tmp_path):
    assert EVIL not in page(tmp_path, title=EVIL)


def test_a_fingerprint_tells_order_pixels_and_labels_apart():
    samples = make_dataset().test
    turned = samples.take(np.arange(len(samples))[::-1])
    other = replace(samples, labels=samples.labels[::-1])
    assert len({fingerprint(samples), fingerprint(turned), fingerprint(other)}) == 3
    assert fingerprint(samples) == fingerprint(samples.take(np.arange(len(samples))))
