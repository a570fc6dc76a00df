"""What reading had to mend is shown to people, wherever images are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomfiles import dataset, write
from medlego.bricks import load_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app

SAID = "window: centre 60000, width 10, LINEAR: left out, it leaves one grey"


LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images a class, every third with a window beside its values; a brick, a generalist."""
    folder = tmp_path_factory.mktemp("mended")
    random = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 2000)):
        (folder / "scans" / label).mkdir(parents=True)
        for number in range(30):
            array = random.integers(low, low + 2000, (64, 64)).astype(np.uint16)
            window: dict[str, Any] = {}
            if number % 3 == 0:
                window = {"WindowCenter": 60000, "WindowWidth": 10}
            image = dataset(array, BitsStored=12, PatientID=f"p{label}{number}", **window)
            write(folder / "scans" / label / f"{number}.dcm", image)
    words = ("--epochs", 1, "--image-size", 64, "--device", "cpu")
    assert run("train", folder / "scans", *words, "-o", folder / "x.brick.safetensors") == 0
    assert run("assemble", folder / "x.brick.safetensors", "-o", folder / "generalist") == 0
    return folder


def test_training_counts_them_into_the_card(place: Path) -> None:
    (count,) = load_brick(place / "x.brick.safetensors").card.mended.values()
    assert 10 <= count <= 20


def test_predict_says_so_and_names_what_it_did_not_answer(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    localizer = dataset(
        np.zeros((64, 64), np.uint16), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    images = [place / "scans" / "dark" / "0.dcm", write(place / "loc", localizer), place / "none"]
    assert run("predict", place / "generalist", *images, "--json", place / "answers.json") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"0.dcm: warning: {SAID}" in said
    assert "loc: expected an image of a patient, got a localizer" in said
    assert "none: expected an image file, found nothing there" in said
    assert "2 of 3 files were not answered" in said
    answered, *problems = json.loads((place / "answers.json").read_text())
    assert answered["problem"] is None
    assert [bool(document["problem"]) for document in problems] == [True, True]


def test_predict_answers_any_object_when_asked(place: Path) -> None:
    localizer = dataset(
        np.zeros((64, 64), np.uint16), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    path = write(place / "loc", localizer)
    assert run("predict", place / "generalist", path) == 2
    assert run("predict", place / "generalist", path, "--any-object") == 0


@pytest.mark.parametrize("verb", ["check", "evaluate"])
def test_other_readers_of_data_say_so_too(
    place: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, generalist = place / "scans", place / "generalist"
    words = {
        "check": ("data", "check", data),
        "evaluate": ("evaluate", generalist, "--data", f"scans={data}", "--device", "cpu"),
    }[verb]
    assert run(*words) == 0
    assert SAID in " ".join(capsys.readouterr().out.split())
