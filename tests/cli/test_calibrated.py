"""Calibration and scores by subgroup as a user meets them: train, inspect, predict, evaluate."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from factories import with_calibration
from medlego.bricks import load_brick, save_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def write_manifest(folder: Path, seed: int) -> Path:
    """Two classes of noise, hard to tell apart, 24 images in each split, with a sex."""
    generator = np.random.default_rng(seed)
    folder.mkdir()
    lines = ["path,label,split,group_sex"]
    for number in range(72):
        label, split = number % 2, ("train", "val", "test")[number // 24]
        pixels = generator.integers(20 * label, 20 * label + 200, (64, 64), dtype=np.uint8)
        Pillow.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{('clear', 'opaque')[label]},{split},{'fm'[number // 4 % 2]}")
    path = folder / f"{folder.name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and its brick, calibrated, with thresholds for a sensitivity."""
    place = tmp_path_factory.mktemp("calibrated")
    data = write_manifest(place / "chest", 0)
    brick = place / "chest.brick.safetensors"
    words = ("--modality", "DX", "--epochs", 1, "--sensitivity", 0.9, "-o", brick)
    assert run("train", data, *words) == 0
    return place


def test_train_says_what_the_calibration_is(work, tmp_path, capsys):
    out = tmp_path / "x.brick.safetensors"
    words = ("--epochs", 1, "--specificity", 0.9, "-o", out)
    assert run("train", work / "chest" / "chest.csv", *words) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "from 24 images, log loss" in output
    assert "for a specificity of 0.9" in output


def test_no_calibration_leaves_it_out(work, tmp_path, capsys):
    out = tmp_path / "x.brick.safetensors"
    words = ("--epochs", 1, "--no-calibration", "-o", out)
    assert run("--json", "train", work / "chest" / "chest.csv", *words) == 0
    assert json.loads(capsys.readouterr().out)["calibration"] is None


def test_inspect_shows_the_calibration(work, capsys):
    assert run("inspect", work / "chest.brick.safetensors") == 0
    assert "for a sensitivity of 0.9" in " ".join(capsys.readouterr().out.split())


def test_a_brick_alone_answers_by_its_threshold(work, tmp_path, capsys):
    brick = load_brick(work / "chest.brick.safetensors")
    assert run("assemble", work / "chest.brick.safetensors", "-o", tmp_path / "g") == 0
    capsys.readouterr()
    image = work / "chest" / "71.png"
    assert run("--json", "predict", tmp_path / "g", image, "--task", "chest") == 0
    ((answer,),) = (p["answers"] for p in json.loads(capsys.readouterr().out))
    assert answer["calibration"] == "calibrated"
    assert brick.calibration
    (limit,) = brick.calibration.thresholds
    assert answer["thresholds"] == {"opaque": limit}
    likely = answer["probabilities"]["opaque"] > limit
    assert answer["labels"] == ["opaque" if likely else "clear"]


def test_a_merge_says_that_it_is_not_calibrated(work, tmp_path, capsys):
    other = with_calibration(load_brick(work / "chest.brick.safetensors").renamed("other"))
    save_brick(other, tmp_path / "other.brick.safetensors")
    bricks = (work / "chest.brick.safetensors", tmp_path / "other.brick.safetensors")
    assert run("assemble", *bricks, "--mode", "merged", "-o", tmp_path / "g") == 0
    assert run("predict", tmp_path / "g", work / "chest" / "0.png", "--task", "chest") == 0
    assert "not calibrated, since a merge answers: chest" in capsys.readouterr().out
    assert run("inspect", tmp_path / "g") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "calibration: chest stale, other stale" in output
    assert run("head-round", "export", tmp_path / "g", "--task", "chest", "-o", tmp_path) == 0
    model, head = tmp_path / "chest.round.brick.safetensors", tmp_path / "chest.head.safetensors"
    words = (work / "chest" / "chest.csv", "--keep-head", "--sensitivity", 0.8, "-o", head)
    assert run("head-round", "fit", model, *words) == 0
    assert "for a sensitivity of 0.8" in " ".join(capsys.readouterr().out.split())
    assert run("head-round", "import", tmp_path / "g", head, "-o", tmp_path / "h") == 0
    assert run("inspect", tmp_path / "h") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "calibration: chest calibrated, other stale" in output


def test_evaluate_shows_thresholds_and_subgroups_and_writes_csv(work, tmp_path, capsys):
    assert run("assemble", work / "chest.brick.safetensors", "-o", tmp_path / "g") == 0
    words = ("--data", f"chest={work / 'chest' / 'chest.csv'}", "--resamples", 100)
    assert run("evaluate", tmp_path / "g", *words, "--csv", tmp_path / "x.csv") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "at the generalist's thresholds" in output
    assert "sex f" in output
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert {row["part"] for row in rows} == {"", "label=opaque", "sex=f", "sex=m"}
    assert run("evaluate", tmp_path / "g", *words, "--table", tmp_path / "x.parquet") == 0
    scores = pl.read_parquet(tmp_path / "x.parquet")
    assert scores["value"].to_list() == [float(row["value"] or "nan") for row in rows]
    assert run("evaluate", tmp_path / "none", *words, "--table", tmp_path / "x.xlsx") == 2
    assert "ends in .csv or .parquet, got .xlsx" in capsys.readouterr().err
