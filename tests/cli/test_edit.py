"""`medlego edit` as a user runs it, on bricks of random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories import make_base, make_brick
from medlego.bricks import save_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app

BASE = make_base(depth=1)
BRICKS = {
    "a": make_brick("a", seed=0, base=BASE),
    "a2": make_brick("a", seed=9, base=BASE),
    "b": make_brick("b", seed=1, base=BASE),
    "c": make_brick("c", seed=2, base=BASE),
}


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Four brick files, and `g`, a generalist of a and b."""
    for name, brick in BRICKS.items():
        save_brick(brick, tmp_path / f"{name}.brick.safetensors")
    words = [tmp_path / f"{name}.brick.safetensors" for name in "ab"]
    assert run("assemble", *words, "-o", tmp_path / "g", "--quiet") == 0
    return tmp_path


def brick(place: Path, name: str) -> Path:
    return place / f"{name}.brick.safetensors"


def log(place: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert run("--json", "edit", "log", place / "g") == 0
    return json.loads(capsys.readouterr().out)


def test_a_walk_through_all_edits_is_in_the_log(place, capsys):
    g = place / "g"
    assert run("edit", "add", g, brick(place, "c"), "--by", "Ada") == 0
    assert run("edit", "update", g, brick(place, "a2")) == 0
    assert run("edit", "remove", g, "b") == 0
    assert run("edit", "undo", g) == 0
    assert run("edit", "redo", g) == 0
    history = log(place, capsys)
    actions = [entry["action"] for entry in history["lineage"]]
    assert actions == ["assemble", "add", "update", "remove", "undo", "redo"]
    assert (history["present"], history["lineage"][1]["by"]) == (3, "Ada")
    assert all(entry["when"].endswith("Z") for entry in history["lineage"])


def test_an_edit_shows_what_is_in_now_and_its_entry(place, capsys):
    run("edit", "add", place / "g", brick(place, "c"))
    text = capsys.readouterr().out
    assert BRICKS["c"].digest[:12] in text
    assert "entry 1: add; recipe" in text


def test_a_purge_deletes_the_file_and_undo_says_why_not(place, capsys):
    g = place / "g"
    assert run("edit", "remove", g, "a", "--purge") == 0
    assert [path.name[:12] for path in (g / "bricks").iterdir()] == [BRICKS["b"].digest[:12]]
    assert run("edit", "undo", g) == 2
    assert "withdrawn in entry 1, for good" in capsys.readouterr().err
    assert run("edit", "add", g, brick(place, "a")) == 2
    assert "add it with --after-withdrawal" in capsys.readouterr().err
    assert run("edit", "add", g, brick(place, "a"), "--after-withdrawal") == 0


def test_a_sound_directory_is_verified(place, capsys):
    assert run("--json", "edit", "verify", place / "g") == 0
    assert all(check["holds"] for check in json.loads(capsys.readouterr().out))


def test_a_claim_that_fails_is_exit_1_and_named(place, capsys):
    run("edit", "remove", place / "g", "a", "--purge")
    digest = BRICKS["a"].digest
    save_brick(BRICKS["a"], place / "g" / "bricks" / f"{digest}.brick.safetensors")
    assert run("edit", "verify", place / "g") == 1
    assert f"brick {digest[:12]}, withdrawn in entry 1, is gone" in capsys.readouterr().err


def test_a_diff_names_bricks_targets_and_sizes(place, capsys):
    run("edit", "add", place / "g", brick(place, "c"))
    capsys.readouterr()
    assert run("--json", "edit", "diff", place / "g", 0, 1) == 0
    diff = json.loads(capsys.readouterr().out)
    assert [item["digest"] for item in diff["added"]] == [BRICKS["c"].digest]
    assert len(diff["coefficients"]) == 2
    assert diff["relative"] > 0
    assert run("edit", "diff", place / "g", 0, 1) == 0
    assert "all targets together" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "{}/none", "{}/c.brick.safetensors"), "expected a generalist's directory"),
        (("add", "{}/g", "{}/none"), "found nothing there"),
        (("add", "{}/g", "{}/a.brick.safetensors"), "expected one that the generalist lacks"),
        (("add", "{}/g", "{}/c.brick.safetensors", "--coefficient", "1"), "expected none where"),
        (("add", "{}/g", "{}/c.brick.safetensors", "--by", "x\x07"), "by: "),
        (("remove", "{}/g", "x"), "expected one of a, b, got 'x'"),
        (("update", "{}/g", "{}/c.brick.safetensors"), "expected one of a, b, got 'c'"),
        (("undo", "{}/g"), "nothing to undo"),
        (("redo", "{}/g", "--to", "3"), "expected an entry from 0 to 0, got 3"),
        (("diff", "{}/g", "0", "1"), "entry: expected 0 to 0, got 1"),
        (("verify", "{}"), "expected a generalist's directory"),
        (("log", "{}"), "expected a generalist's directory"),
    ],
)
def test_a_refused_edit_is_exit_2_and_leaves_everything(place, capsys, words, says):
    before = contents(place / "g")
    assert run("edit", *(word.format(place) for word in words)) == 2
    assert says in capsys.readouterr().err
    assert contents(place / "g") == before


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in files}
