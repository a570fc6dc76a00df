"""Pushing and pulling: what arrives is what left, and nothing else enters."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories import make_base, make_bricks
from hubsite import Hub, serve_hub
from medlego.bricks import brick_bytes
from medlego.errors import StoreError
from medlego.exchange import Store, pull, push
from medlego.exchange.remotes import FilePlace
from medlego.exchange.store import SUFFIX

BASE = make_base(depth=1)
A, B = make_bricks("ab", BASE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for brick in (A, B):
        store.add(brick)
    return store


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serve_hub("clinic/bricks") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(params=["directory", "memory", "hub"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "hub":
        request.getfixturevalue("hub")
        return "hf://clinic/bricks"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/bricks"
    return str(tmp_path / "shared")


def test_bricks_arrive_as_they_left(url, store, tmp_path):
    assert push(store, url) == sorted([A.digest, B.digest])
    other = Store(tmp_path / "other")
    assert pull(other, url) == sorted([A.digest, B.digest])
    assert brick_bytes(other.get(A.digest)) == brick_bytes(A)


def test_only_what_is_missing_is_copied(url, store, tmp_path):
    assert push(store, url, [A.digest[:8]]) == [A.digest]
    assert push(store, url) == [B.digest]
    assert push(store, url) == []
    other = Store(tmp_path / "other")
    assert pull(other, url, [B.digest[:8]]) == [B.digest]
    assert pull(other, url) == [A.digest]


def test_a_push_to_the_hub_is_one_commit(hub, store):
    push(store, "hf://clinic/bricks")
    assert hub.commits == ["Add 2 bricks"]
    assert set(hub.files) == {f"bricks/{brick.digest}{SUFFIX}" for brick in (A, B)}


def test_the_hubs_own_token_is_sent(hub, store, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    push(store, "hf://clinic/bricks")
    assert hub.tokens == {"Bearer hf_secret"}


@pytest.mark.usefixtures("hub")
def test_a_repository_that_is_not_there_is_named(store):
    with pytest.raises(StoreError, match=r"^hf://clinic/none: expected a place that can be read"):
        push(store, "hf://clinic/none")


@pytest.mark.parametrize("url", ["hf://bricks", "hf://a/b/c", "hf:///"])
def test_an_address_that_is_no_repository_is_refused(url, store):
    with pytest.raises(StoreError, match="expected hf://OWNER/NAME"):
        push(store, url)


def test_a_kind_of_url_that_nobody_knows_is_refused(store):
    with pytest.raises(StoreError, match="nowhere://x: expected a directory or a URL of fsspec"):
        push(store, "nowhere://x")


def test_what_is_no_sound_brick_does_not_enter_and_the_others_do(tmp_path):
    shared, other = tmp_path / "shared", Store(tmp_path / "other")
    shared.mkdir()
    damaged = bytearray(brick_bytes(A))
    damaged[-1] ^= 1
    (shared / f"{A.digest}{SUFFIX}").write_bytes(damaged)
    (shared / f"{B.digest}{SUFFIX}").write_bytes(brick_bytes(B))
    (shared / f"{'0' * 64}{SUFFIX}").write_bytes(brick_bytes(B))
    (shared / "readme.txt").write_text("hello")
    with pytest.raises(StoreError, match="2 problems") as caught:
        pull(other, str(shared))
    assert "altered or damaged" in str(caught.value)
    assert "000000000000…: expected the brick of its name, got " in str(caught.value)
    assert other.digests() == [B.digest]


def test_a_brick_that_is_not_there_is_named(store, tmp_path):
    with pytest.raises(StoreError, match="expected one brick that starts with 'zz', got none"):
        pull(store, str(tmp_path), ["zz"])


def test_a_failed_write_leaves_no_half_file(store, tmp_path, monkeypatch):
    place = tmp_path / "shared"
    real = FilePlace.write

    def broken(self: FilePlace, contents: dict) -> None:
        monkeypatch.setattr(self._system, "mv", lambda *_: (_ for _ in ()).throw(OSError("full")))
        real(self, contents)

    monkeypatch.setattr(FilePlace, "write", broken)
    with pytest.raises(StoreError, match="got OSError: full"):
        push(store, str(place))
    assert list(place.iterdir()) == []
