"""`medlego store` as a user runs it, on bricks of random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories import make_base, make_brick
from medlego.bricks import save_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.exchange import Store

BASE = make_base(depth=1)
A, B = (make_brick(name, seed=i, base=BASE) for i, name in enumerate("ab"))


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two brick files; the default store is `store`, and holds both."""
    monkeypatch.setenv("MEDLEGO_STORE", str(tmp_path / "store"))
    files = [tmp_path / f"{brick.task.name}.brick.safetensors" for brick in (A, B)]
    for brick, path in zip((A, B), files, strict=True):
        save_brick(brick, path)
    assert run("store", "add", *files, "--quiet") == 0
    return tmp_path


def digests(place: Path) -> list[str]:
    return Store(place / "store").digests()


def test_a_list_can_be_searched(place, capsys):
    assert run("--json", "store", "ls", "--task", "b") == 0
    listing = json.loads(capsys.readouterr().out)
    assert [item["digest"] for item in listing["bricks"]] == [B.digest]
    assert run("store", "ls") == 0
    assert f"2 of 2 bricks in {place / 'store'}" in "".join(capsys.readouterr().out.splitlines())


def test_a_file_with_markup_in_it_is_named_as_no_brick(place, capsys):
    (place / "store" / "bricks" / f"{'0' * 64}.brick.safetensors").write_bytes(b"[/x] no brick")
    assert run("store", "ls") == 0
    assert "not a brick" in capsys.readouterr().out


def test_bricks_travel_through_a_directory(place, capsys):
    assert run("store", "push", place / "shared", A.digest[:8]) == 0
    assert run("store", "pull", place / "shared", "--store", place / "other") == 0
    assert "pulled 1 bricks" in capsys.readouterr().out
    assert Store(place / "other").digests() == [A.digest]


def test_a_brick_is_removed_only_where_all_are_known(place, capsys):
    assert run("store", "rm", A.digest[:8], "zz") == 2
    assert "expected one brick that starts with 'zz'" in capsys.readouterr().err
    assert len(digests(place)) == 2
    assert run("store", "rm", A.digest[:8]) == 0
    assert digests(place) == [B.digest]


def test_collecting_keeps_what_generalists_use(place):
    assert run("assemble", place / "a.brick.safetensors", "-o", place / "g") == 0
    assert run("store", "gc") == 0
    assert len(digests(place)) == 2
    assert run("store", "gc", "--used-by", place / "g") == 0
    assert digests(place) == [A.digest]


def test_a_purge_reaches_the_store(place):
    files = [place / f"{name}.brick.safetensors" for name in "ab"]
    assert run("assemble", *files, "-o", place / "g") == 0
    assert run("edit", "remove", place / "g", "a") == 0
    assert len(digests(place)) == 2
    assert run("edit", "remove", place / "g", "a", "--purge") == 0
    assert digests(place) == [B.digest]


@pytest.mark.parametrize("again", [True, False])
def test_a_purge_reaches_what_killed_writers_left(place, again):
    """The brick is in the store beside a writer's leavings, or these are all there is of it."""
    files = [place / f"{name}.brick.safetensors" for name in "ab"]
    assert run("assemble", *files, "-o", place / "g") == 0
    left = [
        folder / "bricks" / f".{A.digest}.{rest}.tmp"
        for folder in (place / "g", place / "store")
        for rest in ("brick.safetensors.k3_x9abc", "0123abcd")
    ]
    for file in left:
        file.write_bytes(files[0].read_bytes())
    other = place / "store" / "bricks" / f".{B.digest}.brick.safetensors.abcdefgh.tmp"
    other.write_bytes(b"")
    if not again:
        assert run("store", "rm", A.digest[:8]) == 0
        left[2].write_bytes(b"")
    assert run("edit", "remove", place / "g", "a", "--purge") == 0
    assert not [file for file in left if file.exists()]
    assert other.exists(), "another brick's writer is left alone"
    assert digests(place) == [B.digest]
