"""`predict --input --output` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from batchparts import save_merged, write_images
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.cli.terminal import LogProgress


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generalist and five images, of which one cannot be read."""
    place = tmp_path_factory.mktemp("many")
    save_merged(place / "generalist")
    write_images(place / "images", 5)
    (place / "images" / "002.png").write_bytes(b"no image")
    return place


def test_a_folder_becomes_a_table(work, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    words = ("--input", work / "images", "--output", out, "--task", "binary", "--workers", 1)
    assert run("predict", work / "generalist", *words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "5 images: 4 answers, 0 images without an answer, 1 unreadable images" in said
    assert len(pl.read_parquet(out)) == 5


def test_the_same_command_again_says_that_all_is_there(work, tmp_path, capsys):
    words = ("--input", work / "images", "-o", tmp_path / "out.parquet", "--limit", 2)
    assert run("--json", "predict", work / "generalist", *words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["images"], first["rows"], first["before"]) == (2, 8, 0)
    assert run("predict", work / "generalist", *words) == 0
    assert "2 of 2 images were answered before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "IMAGE: expected at least one, got none"),
        (("--input", "{}/images"), "--input: expected it with --output, got one alone"),
        (("--output", "o.parquet"), "--input: expected it with --output"),
        (("x.png", "--workers", "2"), "--workers: expected it with --input and --output"),
        (("x.png", "--engine", "local"), "--engine: expected it with --input and --output"),
        (("x.png", "--batch-size", "8"), "--batch-size: expected it with --input and --output"),
        (("--limit", "2"), "--limit: expected it with --input and --output, got neither"),
        (("x.png", "--input", "{}/images", "-o", "o.parquet"), "IMAGE: expected it without"),
        (("--input", "{}/images", "-o", "o.parquet", "--saliency", "m"), "--saliency: expected"),
        (("--input", "{}/none", "-o", "o.parquet"), "found nothing there"),
        (("--input", "{}/images", "-o", "o.parquet", "--engine", "dask"), "local or ray"),
        (("--input", "{}/images", "-o", "o.parquet", "--task", "liver"), "task: expected one of"),
        (
            ("--input", "{}/images", "-o", "o.parquet", "--task", "binary", "--every-task"),
            "--every-task: expected it without --task",
        ),
    ],
)
def test_words_that_do_not_go_together_are_bad_input(
    work, tmp_path, monkeypatch, capsys, words, says
):
    monkeypatch.chdir(tmp_path)
    assert run("predict", work / "generalist", *(word.format(work) for word in words)) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("o.parquet*"))


def logged(*calls):
    """Lines of a `LogProgress` that is called at these seconds."""
    lines: list[str] = []
    times = iter([0.0, *(call[0] for call in calls)])
    show = LogProgress(lines.append, lambda: next(times))
    for _, *what in calls:
        show(*what)
    return lines


def test_a_log_gets_a_line_soon_then_every_five_seconds_and_after_a_minute_every_thirty():
    calls = [(second, f"at {second}", 0, 0) for second in range(1, 130)]
    expected = [2, *range(7, 63, 5), 92, 122]
    assert logged(*calls) == [f"at {second}" for second in expected]


def test_a_line_of_a_log_says_how_much_is_left():
    assert logged(
        (1, "looking for images", 5000, 0),
        (2, "looking for images", 9000, 0),
        (3, "8.0 images/s", 512, 5120),
        (7, "8.0 images/s", 1024, 5120),
        (12, "8.0 images/s", 4608, 5120),
    ) == [
        "looking for images: 9,000",
        "8.0 images/s: 1,024 of 5,120, 32 seconds left",
        "8.0 images/s: 4,608 of 5,120, 1 seconds left",
    ]


def test_what_is_left_is_counted_anew_for_each_job():
    assert logged(
        (1, "first", 0, 10), (3, "first", 9, 10), (9, "second", 0, 100), (18, "second", 1, 100)
    ) == [
        "first: 9 of 10, 0 seconds left",
        "second: 0 of 100",
        "second: 1 of 100, 15 minutes left",
    ]
