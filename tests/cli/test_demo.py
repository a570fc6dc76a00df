"""The demo, small: it leaves a generalist that answers, and says that its images are synthetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlego.base import Base
from medlego.cli.app import app
from medlego.cli.demo_run import run_demo
from medlego.cli.outcome import run_app
from medlego.data import SYNTHETIC_TASKS, synthetic_dataset
from medlego.errors import DatasetError
from medlego.generalist import Generalist
from medlego.train import TrainSettings

SMALL = TrainSettings(epochs=1, batch_size=8, rank=1)


def few(count: int = 2):
    names = tuple(SYNTHETIC_TASKS)[:count]
    return {name: synthetic_dataset(name, counts=(12, 8, 8)) for name in names}


def test_a_demo_leaves_bricks_a_generalist_a_picture_and_an_answer(tmp_path):
    result = run_demo(Base.load("mini"), few(), tmp_path / "demo", settings=SMALL, device="cpu")
    names = sorted(str(p.relative_to(tmp_path / "demo")) for p in (tmp_path / "demo").rglob("*.*"))
    assert {"report.png", "report.html"} <= set(names)
    for ending in (".brick.safetensors", ".epochs.csv"):
        assert len([n for n in names if n.startswith("bricks/") and n.endswith(ending)]) == 2
    assert len([n for n in names if n.startswith("images/")]) == 2
    loaded = Generalist.load(tmp_path / "demo" / "generalist")
    assert loaded.recipe == result.generalist.recipe
    assert [a.task.name for a in result.prediction.answers] == list(few())
    assert result.truth in result.generalist.tasks[0].labels


def test_a_second_demo_uses_the_bricks_of_the_first(tmp_path):
    base = Base.load("mini")
    first = run_demo(base, few(), tmp_path / "demo", settings=SMALL, device="cpu")
    seen: list[str] = []
    second = run_demo(
        base,
        few(),
        tmp_path / "demo",
        settings=SMALL,
        device="cpu",
        show=lambda what, *_: seen.append(what),
    )
    assert not [what for what in seen if "epoch" in what]
    assert second.generalist.recipe == first.generalist.recipe


def test_a_demo_of_one_task_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="at least two"):
        run_demo(Base.load("mini"), few(1), tmp_path, settings=SMALL)


def test_the_screen_says_that_the_images_are_synthetic(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medlego.cli.demo_run.synthetic_datasets", lambda _size: few())
    assert run_app(app, ["demo", "-o", str(tmp_path / "d"), "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("SYNTHETIC DATA")
    assert "say nothing about real images" in text
    assert json.loads((tmp_path / "d" / "report.json").read_text())["split"] == "test"


def test_the_demo_runs_on_real_data(tmp_path: Path, shared: Path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("busi_us", "wbc_zheng"):
        (folder / f"{name}.npz").symlink_to(shared / "data" / f"{name}.npz")
    weights = shared / "bases" / "deit_tiny_patch16_224.fp16.safetensors"
    words = ["demo", "-o", str(tmp_path / "d"), "--data", str(folder), "--epochs", "1"]
    words += ["--base", "deit_tiny_patch16_224", "--base-weights", str(weights)]
    assert run_app(app, [*words, "--image-size", "48"]) == 0
    text = capsys.readouterr().out
    assert "SYNTHETIC" not in text
    assert "busi_us" in text
