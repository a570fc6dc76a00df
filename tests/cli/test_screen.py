"""`medlego screen` and `edit add --screen` as a user runs them, on bricks of random numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factories import make_brick, scaled
from medlego.base import MINI_NAME, Base
from medlego.bricks import Brick, Head, save_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.exchange import Store
from medlego.exchange.screening import behaviour

BASE = Base.load(MINI_NAME, image_size=32)


def calm(name: str, seed: int) -> Brick:
    """Random deltas under a head that hardly tells labels apart."""
    brick = scaled(make_brick(name, seed, base=BASE), 0.2)
    return replace(brick, head=Head(brick.head.weight * 0.01, brick.head.bias * 0.01))


NEW = calm("new", 9)
WEAK = scaled(calm("weak", 10), 0.01)


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name != ".lock"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of three tasks, `g`, a generalist of two more, and two brick files."""
    monkeypatch.setenv("MEDLEGO_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(behaviour, "SHOWN", 1)
    for number in range(3):
        Store(tmp_path / "store").add(calm(f"stored-{number}", number))
    files = [tmp_path / f"{name}.brick.safetensors" for name in ("a", "b", "new", "weak")]
    for path, brick in zip(files, (calm("a", 5), calm("b", 6), NEW, WEAK), strict=True):
        save_brick(brick, path)
    assert run("assemble", *files[:2], "-o", tmp_path / "g", "--quiet") == 0
    return tmp_path


def test_a_sound_brick_is_exit_0_with_every_check_shown(place, capsys):
    assert run("--json", "screen", place / "new.brick.safetensors", "--against", place / "g") == 0
    screening = json.loads(capsys.readouterr().out)
    assert (screening["digest"], screening["flagged"]) == (NEW.digest, [])
    unjudged = [f["check"] for f in screening["findings"] if f["verdict"] != "passed"]
    assert unjudged == ["profile", "claim on other tasks' images"]
    assert "the median of 5 others" in screening["findings"][1]["says"]


def test_a_flagged_brick_is_exit_1_and_the_checks_are_named(place, capsys):
    words = ("screen", place / "weak.brick.safetensors", "--against", place / "g")
    assert run(*words, "--json", place / "found.json") == 1
    shown = capsys.readouterr()
    assert "expected nothing flagged, got norm, spectral norm, effect" in shown.err
    assert "docs/security.md says what can pass" in shown.out
    assert json.loads((place / "found.json").read_text())["task"] == "weak"


def test_with_too_little_to_compare_the_screen_says_so(place, capsys):
    words = ("screen", place / "new.brick.safetensors", "--store", place / "nothing")
    assert run(*words) == 0
    assert "needs 4 other bricks, got 0" in " ".join(capsys.readouterr().out.split())


def test_own_images_can_be_given(place, capsys):
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (8, 32, 32), dtype=np.uint8)
    parts: dict[str, Any] = {f"{s}_images": pixels for s in ("train", "val", "test")}
    parts |= {f"{s}_labels": np.arange(8)[:, None] % 2 for s in ("train", "val", "test")}
    np.savez(place / "own.npz", **parts)
    words = ("screen", place / "new.brick.safetensors", "--against", place / "g")
    assert run("--json", *words, "--data", place / "own.npz") == 0
    own = json.loads(capsys.readouterr().out)["findings"]
    assert run("--json", *words) == 0
    drawn = json.loads(capsys.readouterr().out)["findings"]
    assert [f["value"] for f in own] != [f["value"] for f in drawn]


def test_a_file_that_is_no_brick_is_exit_2(place, capsys):
    (place / "bad.brick.safetensors").write_bytes(b"nothing")
    assert run("screen", place / "bad.brick.safetensors") == 2
    assert "bad.brick.safetensors: header:" in capsys.readouterr().err


def test_an_edit_refuses_what_screening_flags_and_changes_nothing(place, capsys):
    before = contents(place / "g")
    assert run("edit", "add", place / "g", place / "weak.brick.safetensors", "--screen") == 1
    assert "effect" in (err := capsys.readouterr().err)
    assert "nothing was changed" in err
    assert contents(place / "g") == before


def test_what_screening_found_goes_into_the_lineage(place, capsys):
    new = place / "new.brick.safetensors"
    assert run("--json", "edit", "add", place / "g", new, "--screen") == 0
    (screening,) = json.loads(capsys.readouterr().out)["gate"]["screening"]
    assert (screening["digest"], screening["flagged"]) == (NEW.digest, [])
    assert run("edit", "verify", place / "g") == 0


def test_a_path_that_is_not_there_is_exit_2(place, capsys):
    words = ("screen", place / "new.brick.safetensors", "--against", place / "missing")
    assert run(*words) == 2
    assert "missing: expected" in capsys.readouterr().err
