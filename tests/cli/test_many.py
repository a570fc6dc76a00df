"""`predict --input --output` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from batchparts import save_merged, write_image, write_images
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
        (("--input", "{}/images"), "--input: expected it with --output, got it alone"),
        (("--output", "o.parquet"), "--output: expected images for it, got none"),
        (("x.png", "--workers", "2"), "--workers: expected it with --output, got it alone"),
        (("x.png", "--engine", "local"), "--engine: expected it with --output"),
        (("x.png", "--batch-size", "8"), "--batch-size: expected it with --output"),
        (("--limit", "2"), "--limit: expected it with --output, got it alone"),
        (("{}/images", "-o", "o.tsv"), "o.tsv: expected a name that ends in .csv or .parquet"),
        (("{}/images", "-o", "o"), "o: expected a name that ends in .csv or .parquet, got none"),
        (("{}/generalist",), "generalist: expected images, found none"),
        (("none.png", "-o", "o.csv"), "none.png: expected an image, a folder of images"),
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


def test_a_folder_and_files_are_answered_as_a_printed_table(work, tmp_path, capsys):
    image = write_image(tmp_path / "other.png", 9)
    words = (work / "images", image, "--task", "binary")
    assert run("--json", "predict", work / "generalist", *words) == 0
    predictions = json.loads(capsys.readouterr().out)
    names = [*(f"{work}/images/{number:03d}.png" for number in range(5)), str(image)]
    assert [prediction["image"] for prediction in predictions] == names
    assert [bool(prediction["problem"]) for prediction in predictions] == [
        *(False, False, True, False, False),
        False,
    ]
    assert run("predict", work / "generalist", *words) == 0
    assert "1 of 6 files were not answered" in capsys.readouterr().out


def test_more_images_than_anybody_reads_are_refused_with_the_way_to_do_it(
    work, monkeypatch, capsys
):
    monkeypatch.setattr("medlego.cli.predict.MAX_PRINTED", 4)
    assert run("predict", work / "generalist", work / "images") == 2
    assert "expected at most 4 images to print, got more; add --output" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.csv", "OUT.PARQUET"])
def test_the_tables_ending_decides_its_format(work, tmp_path, name):
    out = tmp_path / name
    words = (work / "images", "-o", out, "--task", "binary")
    assert run("predict", work / "generalist", *words) == 0
    rows = pl.read_csv(out) if name.endswith("csv") else pl.read_parquet(out)
    assert rows["image"].unique(maintain_order=True).to_list() == [f"00{n}.png" for n in range(5)]


def test_several_files_become_a_table_too(work, tmp_path):
    files = [work / "images" / "000.png", work / "images" / "001.png"]
    words = (*files, "-o", tmp_path / "out.parquet", "--task", "binary")
    assert run("predict", work / "generalist", *words) == 0
    assert pl.read_parquet(tmp_path / "out.parquet")["image"].to_list() == list(map(str, files))
