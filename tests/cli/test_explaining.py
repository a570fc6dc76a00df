"""`predict --saliency` and `card` as a user runs them, on untrained bricks of the mini base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image as Pillow

from factories import make_brick
from medlego.base import Base
from medlego.bricks import save_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.generalist import assemble


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bricks, their generalist, and images in a folder per class."""
    place = tmp_path_factory.mktemp("work")
    base = Base.load("mini")
    bricks = [make_brick(name, seed=i, base=base, count=2) for i, name in enumerate("ab")]
    for brick in bricks:
        save_brick(brick, place / f"{brick.task.name}.brick.safetensors")
    assemble(bricks).save(place / "generalist")
    generator = np.random.default_rng(0)
    for label in ("label-0", "label-1"):
        (place / "data" / label).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (40, 64), dtype=np.uint8)
            Pillow.fromarray(pixels).save(place / "data" / label / f"{number}.png")
    return place


def test_predict_writes_one_overlay_for_each_image_and_task(work, tmp_path, capsys):
    images = [work / "data" / label / "0.png" for label in ("label-0", "label-1")]
    maps = tmp_path / "maps"
    assert run("predict", work / "generalist", *images, "--saliency", maps) == 0
    said = capsys.readouterr().out
    assert f"overlays in {maps}: 4" in said
    assert f"note: 0.png.a.gradient.png is of {images[0]}\n" in said
    assert f"note: 0.png.a.gradient-2.png is of {images[1]}\n" in said
    assert sorted(path.name for path in maps.iterdir()) == [
        "0.png.a.gradient-2.png",
        "0.png.a.gradient.png",
        "0.png.b.gradient-2.png",
        "0.png.b.gradient.png",
    ]


def test_predict_draws_by_rollout_for_the_task_asked(work, tmp_path):
    image = work / "data" / "label-0" / "0.png"
    words = ("--task", "a", "--saliency", tmp_path / "maps", "--saliency-method", "rollout")
    assert run("predict", work / "generalist", image, *words) == 0
    (written,) = (tmp_path / "maps").iterdir()
    with Pillow.open(written) as picture:
        assert picture.width == 64 * 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--saliency", "maps", "--saliency-method", "magic"), "expected one of gradient, rollout"),
        (("--saliency", "full"), "full: expected an empty folder, got a filled one"),
        (("--saliency", "no/where"), "expected a place for a folder"),
    ],
)
def test_predict_refuses_before_it_works(work, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    image = work / "data" / "label-0" / "0.png"
    assert run("predict", work / "generalist", image, *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_a_card_is_printed_or_written_once(work, tmp_path, capsys):
    assert run("card", work / "a.brick.safetensors") == 0
    printed = capsys.readouterr().out
    words = ("card", work / "a.brick.safetensors", "-o", tmp_path / "card.md")
    assert run(*words) == 0
    assert (tmp_path / "card.md").read_text() == printed
    assert run(*words) == 2
    assert run(*words, "--force") == 0


def test_an_evaluation_reaches_the_cards_of_generalist_and_brick(work, tmp_path):
    data = [f"--data={name}={work / 'data'}" for name in "ab"]
    scores = tmp_path / "scores.json"
    words = ("--json", scores, "--resamples", 100)
    assert run("evaluate", work / "generalist", *data, *words) == 0
    assert set(json.loads(scores.read_text())["bricks"]) == {"a", "b"}
    for path in (work / "generalist", work / "a.brick.safetensors"):
        card = tmp_path / f"{path.name}.md"
        assert run("card", path, "--evaluation", scores, "-o", card) == 0
        front_matter: Any = ModelCard(card.read_text()).data
        results = front_matter.eval_results
        assert {"roc_auc", "balanced_accuracy"} <= {result.metric_type for result in results}


def test_a_card_takes_facts_and_names_a_wrong_one(work, tmp_path, capsys):
    facts = tmp_path / "facts.toml"
    facts.write_text("contact = 'ai@hospital.example'\n")
    assert run("card", work / "generalist", "--facts", facts) == 0
    assert "- **Contact:** ai@hospital.example" in capsys.readouterr().out
    facts.write_text("kontakt = 'x'\n")
    assert run("card", work / "generalist", "--facts", facts) == 2
    assert "kontakt" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--report", "--csv", "--plot", "--json"])
@pytest.mark.parametrize("name", ["gone/x.json", "folder.json"])
def test_evaluate_refuses_a_place_that_cannot_be_written_before_any_work(
    flag, name, work, tmp_path, capsys
):
    (tmp_path / "folder.json").mkdir()
    words = ("--data", f"a={tmp_path / 'nothing'}", flag, tmp_path / name)
    assert run("evaluate", work / "generalist", *words) == 2
    assert ": expected a f" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--report", "--table", "--plot"])
def test_evaluate_overwrites_only_when_told(flag, work, tmp_path, capsys):
    (own := tmp_path / "mine.csv").write_text("mine")
    words = ("evaluate", work / "generalist", "--data", f"a={work / 'data'}", flag, own)
    assert run(*words) == 2
    assert own.read_text() == "mine"
    assert "mine.csv: expected a new file" in capsys.readouterr().err
    assert run(*words, "--resamples", 100, "--no-examples", "--force") == 0
    assert own.read_bytes() != b"mine"


def test_inspect_overwrites_a_picture_only_when_told(work, tmp_path, capsys):
    (own := tmp_path / "mine.png").write_text("mine")
    words = ("inspect", *work.glob("*.brick.safetensors"), "--plot", own)
    assert run(*words) == 2
    assert "mine.png: expected a new file" in capsys.readouterr().err
    assert run(*words, "--force") == 0
    assert own.read_bytes() != b"mine"


@pytest.mark.parametrize("count", [0, -1])
def test_evaluate_asks_for_a_draw_or_more(count, work, capsys):
    data = f"a={work / 'data'}"
    assert run("evaluate", work / "generalist", "--data", data, "--resamples", count) == 2
    assert "--resamples" in capsys.readouterr().err
