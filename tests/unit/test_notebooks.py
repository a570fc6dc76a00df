"""What notebooks show and take: frames, files by their ending, and HTML that is escaped."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image as Pillow

from factories import make_base, make_brick, make_dataset, with_measured_profile
from medlego.data import Task
from medlego.errors import SettingsError
from medlego.evaluation import evaluate, write_page
from medlego.generalist import assemble
from medlego.prediction import Predictions, predict
from medlego.support import data_frame, frames

BASE = make_base()
EVIL = "<script>alert('x')</script>&"


@cache
def generalist():
    data = {kind: make_dataset(kind, seed=i, kind=kind, images=24) for i, kind in enumerate(KINDS)}
    bricks = [make_brick(k, seed=i, kind=k, base=BASE) for i, k in enumerate(KINDS)]
    known = with_measured_profile(bricks[0], BASE, data["binary"])
    return assemble([known, *bricks[1:]], mode="merged"), data


KINDS = ("binary", "multilabel")


@cache
def report():
    whole, data = generalist()
    return evaluate(whole, data, base=BASE, resamples=10)


@pytest.fixture
def answers(tmp_path):
    Pillow.fromarray(np.full((16, 16), 90, np.uint8)).save(tmp_path / "DOE.png")
    (tmp_path / "ROE.png").write_bytes(b"no image")
    return predict(generalist()[0], tmp_path, base=BASE, every_task=True)


def test_a_frame_of_predictions_has_a_row_for_each_label(answers):
    frame = answers.to_frame()
    assert isinstance(frame, pd.DataFrame)
    answered = frame[frame.outcome == "answered"]
    assert list(zip(answered.task, answered.label, strict=True)) == [
        ("binary", "label-0"),
        ("binary", "label-1"),
        *(("multilabel", f"label-{n}") for n in range(3)),
    ]
    assert answered.probability.tolist() == [p for a in answers[0].answers for p in a.probs]
    for task, rows in answered.groupby("task"):
        own = next(a for a in answers[0].answers if a.task.name == task)
        assert tuple(rows.label[rows.answered]) == own.labels
    assert answered.bricks.tolist()[0] == "; ".join(b.digest for b in generalist()[0].bricks)


def test_an_image_that_was_not_read_keeps_a_row(answers):
    (row,) = answers.to_frame().query("outcome == 'unreadable'").to_dict("records")
    assert row["position"] == 1
    assert row["image"].endswith("ROE.png")
    assert "expected" in row["reason"]
    assert pd.isna(row["label"])


def test_an_image_that_belongs_to_no_task_keeps_a_row():
    (one,) = predict(generalist()[0], np.zeros((16, 16), np.uint8), base=BASE)
    frame = Predictions([replace(one, answers=())]).to_frame()
    assert frame.outcome.tolist() == ["abstained"]
    assert len(Predictions().to_frame()) == 0


def test_a_frame_of_a_report_is_its_csv():
    frame = report().to_frame()
    rows = list(csv.DictReader(io.StringIO(report().as_csv())))
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows)
    for one, row in zip(frame.to_dict("records"), rows, strict=True):
        assert [one["task"], one["part"], str(one["images"])] == [
            row["task"],
            row["part"],
            row["images"],
        ]
        assert row["value"] == ("" if pd.isna(one["value"]) else repr(one["value"]))


def test_without_pandas_a_frame_is_polars(monkeypatch):
    monkeypatch.setattr(frames, "find_spec", lambda _: None)
    table = pl.DataFrame({"a": [1]})
    assert data_frame(table) is table
    assert isinstance(report().to_frame(), pl.DataFrame)


def test_a_report_is_saved_by_its_ending(tmp_path):
    whole, _ = generalist()
    for name in ("r.html", "r.json", "r.CSV"):
        report().save(tmp_path / name)
    write_page(report(), tmp_path / "page.html")
    assert (tmp_path / "r.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    assert (tmp_path / "r.CSV").read_text() == report().as_csv()
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved == json.loads(json.dumps(report().as_dict()))
    assert saved["generalist"] == whole.recipe.digest
    assert saved["bricks"]["binary"] == [whole.bricks[0].digest]


def test_a_parquet_table_keeps_text_as_text_and_agrees_with_the_frame(tmp_path):
    rows = tuple(replace(row, task="007", model="1e3") for row in report().rows)
    one = replace(report(), rows=rows, tasks={}, means={}, normalised={})
    one.save(tmp_path / "x.parquet")
    table = pl.read_parquet(tmp_path / "x.parquet")
    assert dict(table.schema) == {
        **dict.fromkeys(("task", "model", "part"), pl.String),
        "images": pl.Int64,
        "score": pl.String,
        **dict.fromkeys(("value", "low", "high"), pl.Float64),
        "undefined": pl.Int64,
        "positive": pl.String,
    }
    assert set(table["task"]) == {"007"}
    assert set(table["part"]) == {""}
    pd.testing.assert_frame_equal(data_frame(table), one.to_frame())


@pytest.mark.parametrize(("name", "got"), [("r.xlsx", ".xlsx"), ("report", "no ending")])
def test_another_ending_is_refused_and_nothing_written(tmp_path, name, got):
    with pytest.raises(SettingsError, match=rf"ends in .html, .json, .csv or .parquet, got {got}"):
        report().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_page_needs_what_was_evaluated(tmp_path):
    with pytest.raises(SettingsError, match="expected a report that evaluate made"):
        replace(report(), generalist=None).save(tmp_path / "r.html")


@cache
def shown_values():
    labels = (EVIL, "other")
    evil = Task(name="evil", kind="binary", labels=labels)
    brick = replace(make_brick("evil", kind="binary", base=BASE), task=evil)
    one = assemble(brick)
    answers = predict(one, np.zeros((16, 16), np.uint8), base=BASE)
    turned = replace(answers[0].answers[0], probs=(0.9, 0.1))
    return {
        "brick": brick,
        "generalist": one,
        "predictions": Predictions([replace(answers[0], answers=(turned,))]),
        "report": report(),
    }


@pytest.mark.parametrize("name", ["brick", "generalist", "predictions", "report"])
def test_html_is_a_closed_table_without_markup_of_others_or_colours(name):
    html = shown_values()[name]._repr_html_()
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, _attrs):
            tags.append(tag)

        def handle_endtag(self, tag):
            assert tags.pop() == tag

    Reader().feed(html)
    assert tags == []
    assert "<script" not in html
    assert re.search("color|background|#[0-9a-f]{3}", html) is None
    if name != "report":
        assert "&lt;script&gt;alert(&#x27;x&#x27;)" in html


def test_html_of_predictions_names_no_image_and_counts_what_it_leaves_out(answers):
    html = answers._repr_html_()
    assert "OE" not in html
    assert "not read" in html
    assert "2 images<" in html
    many = Predictions([answers[0]] * 100)._repr_html_()
    assert "100 images, the first 20 shown" in many
    assert many.count("<tr>") == 41
