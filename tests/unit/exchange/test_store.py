"""The store: bricks by digest, whole or absent whatever happens, and found again."""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from factories import make_base, make_brick
from medlego.bricks import Brick, brick_bytes, load_brick, read_label
from medlego.errors import StoreError
from medlego.exchange import Store, default_store
from medlego.exchange import store as module
from waiting import PATIENCE_S

BASE = make_base(depth=1)


def made(name: str, seed: int, **fields: str) -> Brick:
    brick = make_brick(name, seed=seed, base=BASE)
    return replace(brick, task=brick.task.model_copy(update=fields))


A = made("chest-xray", 0, modality="DX", body_part="CHEST")
B = made("brain", 1, modality="MR", body_part="BRAIN")
KILLS = 100


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for brick in (A, B):
        store.add(brick)
    return store


def test_a_brick_comes_back_as_it_went_in(store):
    assert brick_bytes(store.get(A.digest[:8])) == brick_bytes(A)


def test_a_store_that_is_not_there_is_empty(tmp_path):
    assert Store(tmp_path / "none").digests() == []
    assert Store(tmp_path / "none").collect(()) == []


def test_a_brick_twice_is_one(store):
    before = store.file(A.digest).stat().st_mtime_ns
    store.add(A)
    assert store.file(A.digest).stat().st_mtime_ns == before
    assert store.digests() == sorted([A.digest, B.digest])


@pytest.mark.parametrize(
    ("wanted", "tasks"),
    [
        ({}, ["brain", "chest-xray"]),
        ({"task": "CHEST"}, ["chest-xray"]),
        ({"modality": "mr"}, ["brain"]),
        ({"body_part": "chest"}, ["chest-xray"]),
        ({"base": "tiny", "task": "n"}, ["brain"]),
        ({"base": BASE.ref.fingerprint[:8]}, ["brain", "chest-xray"]),
        ({"base": "other"}, []),
    ],
)
def test_bricks_are_found_by_what_they_say(store, wanted, tasks):
    labels, problems = store.labels(**wanted)
    assert [label.task.name for label in labels] == tasks
    assert problems == []


def test_a_label_is_the_bricks_own(store):
    label = read_label(store.file(A.digest))
    assert (label.digest, label.task, label.base) == (A.digest, A.task, A.base)
    assert label.bytes == len(brick_bytes(A))


def test_a_damaged_file_is_listed_as_such_and_hides_no_other(store):
    store.file(A.digest).write_bytes(b"\0" * 20)
    labels, problems = store.labels()
    assert [label.digest for label in labels] == [B.digest]
    assert A.digest in problems[0]


def test_a_brick_under_anothers_name_is_refused(store):
    store.file(A.digest).write_bytes(brick_bytes(B))
    with pytest.raises(StoreError, match="expected the brick of its name"):
        store.get(A.digest)


@pytest.mark.parametrize("start", ["", "zz"])
def test_a_start_that_fits_none_or_several_is_refused(store, start):
    with pytest.raises(StoreError, match=f"expected one brick that starts with {start!r}"):
        store.get(start)


def test_a_removed_brick_is_gone(store):
    assert store.remove(A.digest[:8]) == A.digest
    assert store.digests() == [B.digest]


def test_collecting_keeps_what_is_used(store):
    assert store.collect() == []
    assert store.collect({B.digest}) == [store.file(A.digest)]
    assert store.digests() == [B.digest]


def test_only_one_writes_at_a_time(store, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    with store._alone(), pytest.raises(StoreError, match="got another writer"):
        store.remove(A.digest)


def test_the_default_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store() == tmp_path / "medlego" / "store"
    monkeypatch.setenv("MEDLEGO_STORE", str(tmp_path / "s"))
    assert default_store() == tmp_path / "s"


def _write_on(store: Store, reports: Connection) -> None:
    """Add bricks without end; report each one that is in."""
    for number in count():
        reports.send(store.add(A.renamed(f"task-{os.getpid()}-{number}")))


def test_a_hundred_killed_writers_leave_nothing_half_written_and_lose_nothing(tmp_path):
    """Two at a time write; one of them is killed at a moment of chance."""
    store, dice, context = Store(tmp_path / "store"), random.Random(5), get_context("fork")
    inside: set[str] = set()

    def start() -> tuple[BaseProcess, Connection]:
        reports, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_write_on, args=(store, theirs))
        child.start()
        theirs.close()
        return child, reports

    def kill(child: BaseProcess, reports: Connection) -> None:
        child.kill()
        child.join()
        with contextlib.suppress(EOFError):
            while True:
                inside.add(reports.recv())

    survivor = start()
    for number in range(KILLS):
        victim = start()
        if number % 2:  # kill half of them only once they have written
            survivor[1].poll(PATIENCE_S)
        time.sleep(dice.uniform(0, 0.02))
        kill(*survivor)
        survivor = victim
    kill(*survivor)
    assert len(inside) > KILLS / 4
    assert inside <= set(store.digests())
    assert all(load_brick(store.file(digest)).digest == digest for digest in store.digests())
    store.collect()
    assert all(not file.name.startswith(".") for file in (store.path / "bricks").iterdir())
    assert store.add(B) in store.digests()
