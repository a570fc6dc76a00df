"""Downloads, against a web server on this machine that misbehaves as told."""

from __future__ import annotations

import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest

from medlego.errors import DownloadError
from medlego.support import download
from website import CONTENT, Site, serve

MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _seconds: None))
    with serve() as served:
        yield served


def get(site: Site, path: Path, md5: str = MD5, **options: object) -> None:
    download(site.url, path, md5=md5, **options)  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"a.npz.lock"}


def test_whole_file_arrives_and_nothing_else_stays(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path / "deep" / "a.npz")
    assert (tmp_path / "deep" / "a.npz").read_bytes() == CONTENT
    assert left(tmp_path / "deep") == {"a.npz"}


def test_file_of_unstated_length_arrives(site: Site, tmp_path: Path) -> None:
    site.tells_length = False
    counts: list[tuple[int, int]] = []
    get(site, tmp_path / "a.npz", progress=lambda done, total: counts.append((done, total)))
    assert counts[-1] == (len(CONTENT), 0)


def test_progress_counts_up_to_the_whole(site: Site, tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    get(site, tmp_path / "a.npz", progress=lambda done, total: counts.append((done, total)))
    assert counts == sorted(counts)
    assert counts[-1] == (len(CONTENT), len(CONTENT))


def test_cached_file_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path / "a.npz")
    get(site, tmp_path / "a.npz")
    assert site.asked == 1


def test_file_placed_by_hand_needs_no_network_and_no_writing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT)
    get(site, tmp_path / "a.npz")
    assert site.asked == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_damaged_cached_file_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT[:-1] + b"?")
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("tells_length", [True, False])
def test_cut_download_is_fetched_anew(site: Site, tmp_path: Path, tells_length: bool) -> None:
    site.tells_length, site.cuts = tells_length, [100_000]
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.asked == 2


def test_interrupted_call_leaves_nothing(site: Site, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(site, tmp_path / "a.npz", progress=interrupt)
    assert left(tmp_path) == set()


def test_killed_call_leaves_no_file_and_the_next_one_clears_up(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    script = (
        "import os, signal, sys; from pathlib import Path; from medlego.support import download\n"
        "die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)\n"
        "download(sys.argv[1], Path(sys.argv[2]), md5=sys.argv[3], progress=die)"
    )
    command = [sys.executable, "-c", script, site.url, str(path), MD5]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert left(tmp_path) == {"a.npz.tmp"}
    get(site, path)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == {"a.npz"}


def test_wrong_checksum_is_an_error_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    rule = r"^a\.npz: expected the file with MD5 0{32} .*, got another content \(2 tries\); "
    with pytest.raises(DownloadError, match=rule):
        get(site, tmp_path / "a.npz", md5="0" * 32, tries=2)
    assert left(tmp_path) == set()


def test_absent_file_is_an_error_at_once(site: Site, tmp_path: Path) -> None:
    site.statuses = [404, 404]
    rule = r"^a\.npz: expected http.* to be there, got HTTP 404 Not Found; put the file with MD5 "
    with pytest.raises(DownloadError, match=rule):
        get(site, tmp_path / "a.npz")
    assert site.asked == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_tried_again(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status, status]
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_tries_are_bounded(site: Site, tmp_path: Path) -> None:
    site.statuses = [500] * 10
    rule = r"^a\.npz: expected the file .*, got 500 Server Error.* \(3 tries\); check the network"
    with pytest.raises(DownloadError, match=rule):
        get(site, tmp_path / "a.npz", tries=3)
    assert site.asked == 3


def test_connection_that_keeps_breaking_is_an_error(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000, 1_000]
    with pytest.raises(DownloadError, match=r"got .*1000 bytes read.* \(2 tries\)"):
        get(site, tmp_path / "a.npz", tries=2)
    assert left(tmp_path) == set()


def test_no_network_is_an_error_that_says_where_to_put_the_file(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        site.url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.npz"
    where = re.escape(str(tmp_path / "a.npz"))
    with pytest.raises(
        DownloadError,
        match=rf"got no connection to 127.0.0.1 \(Connection refused\); .*put the .* at {where}$",
    ):
        get(site, tmp_path / "a.npz", tries=2)


def test_disk_that_cannot_hold_the_file_is_an_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        DownloadError, match=r"^a\.npz: expected to store it in .*; free some space"
    ):
        get(site, tmp_path / "file" / "a.npz")
    assert site.asked == 0


def test_full_disk_is_an_error_at_once(site: Site, tmp_path: Path) -> None:
    def fill(_done: int, _total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match=r"to store it in .*, got No space left on device; "):
        get(site, tmp_path / "a.npz", progress=fill)
    assert (site.asked, left(tmp_path)) == (1, set())


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "file:///etc/hostname", "ftp://127.0.0.1/a"]
)
def test_only_https_is_fetched_from_elsewhere(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=r"^a\.npz: expected an https address, got "):
        get(Site(url=url), tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_redirect_away_from_https_is_refused(site: Site, tmp_path: Path) -> None:
    site.location = "http://example.org/a"
    with pytest.raises(DownloadError, match=r"to lead to https, got http://example\.org/a; "):
        get(site, tmp_path / "a.npz")
    assert site.asked == 1


def test_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    site.location = "/elsewhere"
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.asked == 2


def test_a_proxy_is_not_asked_for_this_machine(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    get(site, tmp_path / "a.npz", tries=1)
    assert site.asked == 1


def test_callers_at_once_fetch_one_file_once(site: Site, tmp_path: Path) -> None:
    barrier = threading.Barrier(3)

    def call(_: int) -> None:
        barrier.wait()
        get(site, tmp_path / "a.npz")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(call, range(3)))
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.asked == 1
