"""A directory edited in place: whole at every moment, nobody else at it, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factories import make_base, make_bricks
from medlego.errors import GeneralistError
from medlego.generalist import (
    Generalist,
    add,
    assemble,
    document,
    editing,
    remove,
    undo,
    verify,
    withdraw,
)
from medlego.generalist import directory as module
from medlego.generalist.merged_file import read_merged
from medlego.generalist.strays import sweep
from medlego.support import write_atomically

BASE = make_base(depth=1)
A, B, C = make_bricks("abc", BASE)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    assemble([A, B]).save(tmp_path / "g")
    return tmp_path / "g"


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in folder.iterdir())


def test_a_commit_leads_to_what_a_new_directory_would_hold(place, tmp_path):
    before = Generalist.load(place)
    after = add(before, C)
    after.commit(place, after=before)
    after.save(tmp_path / "new")
    for file in (path for path in (tmp_path / "new").rglob("*") if path.is_file()):
        assert (place / file.relative_to(tmp_path / "new")).read_bytes() == file.read_bytes()


def test_earlier_states_come_back_from_disk(place):
    before = Generalist.load(place)
    remove(add(before, C), "a").commit(place, after=before)
    assert undo(undo(Generalist.load(place))).recipe == before.recipe


def test_the_merge_of_before_is_deleted(place):
    before = Generalist.load(place)
    old = names(place / "merged")
    add(before, C).commit(place, after=before)
    assert len(names(place / "merged")) == 1
    assert names(place / "merged") != old


def test_a_withdrawal_deletes_the_files(place):
    before = Generalist.load(place)
    withdraw(before, "a").commit(place, after=before)
    assert names(place / "bricks") == [B.digest]


def test_an_edit_of_what_somebody_else_changed_is_refused(place):
    first, second = Generalist.load(place), Generalist.load(place)
    add(first, C).commit(place, after=first)
    with pytest.raises(GeneralistError, match="somebody edited it meanwhile"):
        remove(second, "a").commit(place, after=second)
    assert len(Generalist.load(place).bricks) == 3


def test_a_reader_whom_an_editor_overtakes_reads_again(place, monkeypatch):
    before = Generalist.load(place)
    after = add(before, C)
    edits = iter([lambda: after.commit(place, after=before)])

    def overtaken(*words: Any) -> object:
        next(edits, lambda: None)()
        return read_merged(*words)

    monkeypatch.setattr(module, "read_merged", overtaken)
    assert Generalist.load(place).recipe == after.recipe


def test_only_one_edits_at_a_time(place, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    with (
        editing(place),
        pytest.raises(GeneralistError, match="got another editor"),
        editing(place),
    ):
        pass


def test_the_lock_of_a_killed_editor_is_free(place):
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_hold_and_die, args=(place,))
    child.start()
    child.join()
    assert child.exitcode == 9
    with editing(place):
        pass


def _hold_and_die(place: Path) -> None:
    with editing(place):
        os._exit(9)


def test_what_is_no_generalist_cannot_be_edited(tmp_path):
    with (
        pytest.raises(GeneralistError, match="expected a generalist's directory"),
        editing(tmp_path),
    ):
        pass


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("edit", [lambda g: add(g, C), lambda g: withdraw(g, "a")])
def test_killed_at_any_step_it_is_the_one_or_the_other(edit, place, tmp_path, monkeypatch):
    before = Generalist.load(place)
    after = edit(before)
    killed = 0
    while True:
        copy = shutil.copytree(place, tmp_path / str(killed))
        with monkeypatch.context() as patch:
            _kill_after(killed, patch)
            try:
                after.commit(copy, after=before)
                break
            except Killed:
                killed += 1
        loaded = Generalist.load(copy)
        if loaded.recipe == before.recipe:
            after.commit(copy, after=before)
        else:
            assert loaded.recipe == after.recipe
            sweep(copy, loaded.lineage, loaded.past)
        assert all(check.holds for check in verify(copy))
        assert Generalist.load(copy).recipe == after.recipe
    assert killed >= 4


def _kill_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let so many files be written or deleted, and no more."""
    left = iter(range(steps))
    unlink = Path.unlink

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def step(*words: object, **more: object) -> None:
            if next(left, None) is None:
                raise Killed
            real(*words, **more)

        return step

    write = counted(write_atomically)
    for place in (module, document):
        patch.setattr(place, "write_atomically", write)
    patch.setattr(Path, "unlink", counted(unlink))
