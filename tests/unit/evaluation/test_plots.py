"""Plots on matplotlib's axes show what the report holds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from factories import make_base, make_bricks, make_dataset
from medlego import evaluation
from medlego.errors import SettingsError
from medlego.evaluation import evaluate
from medlego.generalist import assemble
from medlego.metrics import confusion, curves

KINDS = ("multiclass", "binary", "multilabel")
OF_A_TASK = ("roc", "precision_recall", "reliability", "confusion", "groups")


@cache
def report():
    base = make_base()
    data = {}
    for seed, kind in enumerate(KINDS):
        whole = make_dataset(kind, seed, kind, images=24)
        sex = {"sex": np.array(["F", "M"])[np.arange(24) % 2]}
        data[kind] = replace(whole, test=replace(whole.test, groups=sex))
    return evaluate(
        assemble(make_bricks(KINDS, base, of_kinds=True)), data, base=base, resamples=10
    )


def plot(name, *args, **more):
    return getattr(evaluation, f"plot_{name}")(report(), *args, **more)


@pytest.fixture(autouse=True)
def without_windows():
    matplotlib.use("agg")
    pyplot.close("all")
    yield
    pyplot.close("all")


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("name", OF_A_TASK)
def test_a_plot_draws_on_the_axes_that_it_is_given_and_returns_them(name, task):
    more = {"label": "label-1"} if (name, task) == ("confusion", "multilabel") else {}
    axes = Figure().add_subplot()
    assert plot(name, task, ax=axes, **more) is axes
    assert axes.has_data() or axes.texts
    assert pyplot.get_fignums() == []


def test_without_axes_a_figure_is_made_and_laid_out():
    axes = plot("scores")
    assert pyplot.get_fignums() == [axes.figure.number]
    axes.figure.draw_without_rendering()


def test_settings_of_the_user_are_left_alone():
    before = dict(matplotlib.rcParams)
    plot("roc", "binary")
    assert dict(matplotlib.rcParams) == before


def test_bars_are_the_reports_scores():
    axes = plot("scores", score="auroc")
    heights = sorted(bar.get_height() for bar in axes.patches)
    values = [row.scores["auroc"].value for row in report().rows]
    values += [scores["auroc"].value for scores in report().means.values()]
    np.testing.assert_allclose(heights, sorted(values), rtol=1e-12)
    assert axes.get_ylabel().startswith("AUROC")


@pytest.mark.parametrize("model", ["generalist", "specialist"])
def test_roc_curves_are_of_the_model_that_is_asked_for(model):
    axes = plot("roc", "multiclass", model=model)
    own = curves(report().tasks["multiclass"].sample(model))
    _, *lines = axes.lines
    assert [line.get_label() for line in lines] == [curve.label for curve in own]
    for line, curve in zip(lines, own, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve.sensitivity)
    assert len(axes.get_legend().get_texts()) == len(own)


def test_a_confusion_matrix_has_the_counts():
    axes = plot("confusion", "multiclass")
    counts = confusion(report().tasks["multiclass"].sample())["multiclass"]
    assert [text.get_text() for text in axes.texts] == [str(n) for n in counts.ravel()]


def test_labels_that_begin_with_an_underscore_are_in_the_legend():
    detail = report().tasks["multiclass"]
    task = detail.task.model_copy(update={"labels": ("_a", "_b", "_c")})
    one = replace(report(), tasks={"multiclass": replace(detail, task=task)})
    legend = evaluation.plot_roc(one).get_legend()
    assert legend is not None
    texts = legend.get_texts()
    assert [text.get_text() for text in texts] == ["\u200b_a", "\u200b_b", "\u200b_c"]


@pytest.mark.parametrize("name", ["roc", "precision_recall", "confusion"])
def test_labels_stay_text_whatever_stands_in_them(name):
    detail = report().tasks["multiclass"]
    names = ("$\\bad$", "<b>", "ü – x")
    task = detail.task.model_copy(update={"labels": names})
    one = replace(report(), tasks={"multiclass": replace(detail, task=task)})
    axes = getattr(evaluation, f"plot_{name}")(one)
    axes.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("name", "args", "more", "message"),
    [
        ("roc", (), {}, "task: expected one of multiclass, binary, multilabel, got None"),
        ("roc", ("chest",), {}, "task: expected one of .*, got 'chest'"),
        ("roc", ("binary",), {"model": "best"}, "model: expected one of generalist, .*got 'best'"),
        ("confusion", ("multilabel",), {}, "label: expected one of label-0, .* got None"),
        ("confusion", ("binary",), {"label": "a"}, "label: expected none for a binary task"),
        ("groups", ("binary",), {"score": "f2"}, "score: expected one of .* got 'f2'"),
        ("scores", (), {"score": "f1"}, "score: expected one of accuracy, .* got 'f1'"),
    ],
)
def test_what_a_report_lacks_is_refused_before_a_figure_is_made(name, args, more, message):
    with pytest.raises(SettingsError, match=message):
        plot(name, *args, **more)
    assert pyplot.get_fignums() == []


def test_a_task_may_be_left_out_where_there_is_one():
    one = replace(report(), tasks={"binary": report().tasks["binary"]})
    assert evaluation.plot_roc(one).get_ylabel() == "sensitivity"


def test_data_without_both_sides_or_groups_have_no_such_plot():
    detail = report().tasks["binary"]
    ill = np.flatnonzero(detail.samples.labels == 1)
    answers = {model: replace(own, probs=own.probs[ill]) for model, own in detail.answers.items()}
    bare = replace(detail, samples=detail.samples.take(ill), answers=answers, groups=())
    one = replace(report(), tasks={"binary": bare})
    with pytest.raises(SettingsError, match="expected images with and without a label"):
        evaluation.plot_roc(one)
    with pytest.raises(SettingsError, match="expected data with groups, got none"):
        evaluation.plot_groups(one)
