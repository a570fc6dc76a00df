"""Whether an address can be reached is asked once."""

from __future__ import annotations

import socket
import threading

import huggingface_hub
import pooch
import pytest

from medlego.base import Base
from medlego.errors import BaseError, DownloadError, StoreError
from medlego.exchange import from_hub
from medlego.exchange.remotes import open_place
from medlego.support import download, unreachable
from medlego.support.network import CONNECT_S


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Every connection that was tried, on a machine without a network."""
    tried: list[tuple[object, object]] = []

    def refuse(where: object, timeout_s: object) -> None:
        tried.append((where, timeout_s))
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tried


def never(*_: object, **__: object) -> None:
    raise AssertionError("asked although there is no network")


def test_a_server_that_listens_is_connected_to_once():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        assert unreachable(f"http://127.0.0.1:{listening.getsockname()[1]}/x") is None
        listening.accept()[0].close()
        listening.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_closed_port_is_said_with_the_reason():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    says = "no connection to 127.0.0.1 (Connection refused)"
    assert unreachable(f"http://127.0.0.1:{port}/x") == says


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    done = threading.Event()

    def wait(*_: object) -> None:
        done.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", wait)
    assert unreachable("https://hub.example", timeout_s=0.01) == "no answer from hub.example"
    done.set()


@pytest.mark.parametrize(
    "address", ["s3://bucket/x", "/a/folder", "memory://x", "hub", "file:///x"]
)
def test_of_other_addresses_nothing_is_asked(asked, address):
    assert unreachable(address) is None
    assert asked == []


def test_the_proxy_is_asked_where_there_is_one(asked, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert unreachable("https://hub.example/x")
    monkeypatch.setenv("no_proxy", "hub.example")
    assert unreachable("https://hub.example/x")
    places = [("proxy.example", 3128), ("hub.example", 443)]
    assert asked == [(place, CONNECT_S) for place in places]


def test_a_download_without_a_network_asks_once(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(pooch, "create", never)
    with pytest.raises(DownloadError, match="connect to a network, or put the file with MD5") as e:
        download("https://data.example/a.npz", tmp_path / "a.npz", md5="0" * 32)
    assert "\n" not in str(e.value)
    assert asked == [(("data.example", 443), CONNECT_S)]


def test_a_bases_weights_without_a_network_are_asked_for_once(asked, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    with pytest.raises(BaseError, match=r"Network is unreachable.*pass --base-weights FILE$"):
        Base.load("vit_tiny_patch16_224")
    assert asked == [(("hub.example", 443), CONNECT_S)]


@pytest.mark.parametrize("open_it", [open_place, from_hub])
def test_the_hub_without_a_network_is_asked_once(asked, monkeypatch, open_it):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    with pytest.raises(StoreError, match="connect to a network, or correct the address"):
        open_it("hf://clinic/bricks")
    assert asked == [(("hub.example", 443), CONNECT_S)]


def test_a_web_place_without_a_network_is_asked_once(asked):
    with pytest.raises(StoreError, match="expected a place that can be read"):
        open_place("https://share.example/bricks")
    assert asked == [(("share.example", 443), CONNECT_S)]
