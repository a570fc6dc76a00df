"""Training watched from the command line: the CSV beside a brick, logs, and whole experiments."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego.cli import checks
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.train import Experiment


def run(*words):
    return run_app(app, [str(word) for word in words])


def write_classes(folder, seed):
    generator = np.random.default_rng(seed)
    for level, name in enumerate(("low", "high")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = 60 + 90 * level + generator.integers(-30, 30, (16, 16))
            Pillow.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A data set, a brick of it with all logs, and a generalist."""
    place = tmp_path_factory.mktemp("work")
    write_classes(place / "data", 0)
    assert train(place, "b", "--log", "tensorboard") == 0
    assert run("assemble", place / "b.brick.safetensors", "-o", place / "generalist") == 0
    return place


def train(place, name, *words):
    output = place / f"{name}.brick.safetensors"
    short = ("--epochs", 2, "--batch-size", 8)
    return run("train", place / "data", *short, *words, "-o", output)


def epochs(file):
    with file.open() as stream:
        return [row["epoch"] for row in csv.DictReader(stream)]


def test_train_writes_the_epochs_beside_the_brick(work):
    assert epochs(work / "b.epochs.csv") == ["1", "2"]


def test_train_logs_for_tensorboard_beside_the_brick(work):
    assert len(list((work / "b.tensorboard").glob("events.out.tfevents.*"))) == 1


def test_epochs_of_another_run_are_overwritten_only_when_told(work, capsys):
    (work / "old.epochs.csv").write_text("mine")
    assert train(work, "old") == 2
    assert "old.epochs.csv: expected a new file" in capsys.readouterr().err
    assert (work / "old.epochs.csv").read_text() == "mine"
    assert train(work, "old", "--force") == 0
    assert epochs(work / "old.epochs.csv") == ["1", "2"]


def test_the_epochs_of_an_interrupted_run_are_no_obstacle(work):
    (work / "killed.epochs.csv").write_text("half")
    (work / "killed.brick.safetensors.partial").write_text("not a state")
    assert train(work, "killed") == 1
    assert (work / "killed.epochs.csv").read_text() == "half"


def test_force_starts_a_log_for_tensorboard_anew(work):
    assert train(work, "again", "--log", "tensorboard") == 0
    assert train(work, "again", "--log", "tensorboard", "--force") == 0
    assert len(list((work / "again.tensorboard").glob("events.out.tfevents.*"))) == 1


def test_another_log_is_bad_input(work, capsys):
    assert train(work, "x", "--log", "wandb") == 2
    assert "--log: expected tensorboard, got 'wandb'" in capsys.readouterr().err


def test_a_missing_tensorboard_is_named_before_any_work(work, capsys, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    assert train(work, "x", "--log", "tensorboard") == 2
    assert "pip install 'medlego[tensorboard]'" in capsys.readouterr().err


def test_adapt_writes_the_epochs_of_each_start(work):
    output = work / "new.brick.safetensors"
    words = ("--start", "plain", "--start", "merged", "--epochs", 1, "-o", output)
    assert run("adapt", work / "generalist", work / "data", *words) == 0
    assert epochs(work / "new.plain.epochs.csv") == ["1"]
    assert epochs(work / "new.merged.epochs.csv") == ["0", "1"]


def test_inspect_shows_the_training_in_a_line(work, capsys):
    assert run("inspect", work / "b.brick.safetensors") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "epochs 1 to 2 score" in printed
    assert "training loss" in printed


def test_the_model_card_shows_the_training_in_a_line(work):
    assert run("card", work / "b.brick.safetensors", "-o", work / "card.md") == 0
    assert "**Training curve:**" in (work / "card.md").read_text()


TOML = """
[training]
epochs = 1
[data.low-high]
source = "data"
[methods.linear]
[evaluation]
resamples = 100
"""


def test_run_makes_the_table_and_says_when_there_is_nothing_to_do(work, capsys):
    (work / "study.toml").write_text(TOML)
    assert run("run", work / "study.toml", "-o", work / "study") == 0
    printed = capsys.readouterr().out
    assert "(no merge)" in printed
    assert run("--json", "run", work / "study.toml", "-o", work / "study") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["untouched"]
    assert {row["model"] for row in document["table"]} >= {"generalist", "specialist"}
    assert {score["task"] for score in document["scores"]} == {"low-high"}


def test_what_failed_in_a_run_is_an_exit_of_1(work, capsys, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    (work / "study.toml").write_text(TOML)
    monkeypatch.setattr(Experiment, "read", fail)
    assert run("run", work / "study.toml", "-o", work / "failing") == 1
    assert "data.low-high: no space left" in capsys.readouterr().err


def test_a_wrong_experiment_is_an_exit_of_2_and_makes_nothing(work, capsys):
    (work / "wrong.toml").write_text(TOML.replace("epochs", "epocs"))
    assert run("run", work / "wrong.toml", "-o", work / "wrong") == 2
    assert "epocs" in capsys.readouterr().err
    assert not (work / "wrong").exists()
