"""Downloads, against a web server on this machine that misbehaves as told."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medlego.errors import DownloadError
from medlego.support import download
from website import CONTENT, Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as served:
        yield served


def get(site: Site, path: Path, md5: str | None = None, tries: int = 4, **options: object) -> None:
    md5 = md5 or hashlib.md5(CONTENT).hexdigest()
    download(site.url, path, md5=md5, tries=tries, pause_s=0.0, **options)  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"a.npz.lock"}


def test_whole_file_arrives_and_nothing_else_stays(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path / "deep" / "a.npz")
    assert (tmp_path / "deep" / "a.npz").read_bytes() == CONTENT
    assert left(tmp_path / "deep") == {"a.npz"}


def test_file_of_untold_length_arrives(site: Site, tmp_path: Path) -> None:
    site.tells_length = False
    told: list[tuple[int, int]] = []
    get(site, tmp_path / "a.npz", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(CONTENT), 0)


def test_cached_file_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path / "a.npz")
    get(site, tmp_path / "a.npz")
    assert len(site.ranges) == 1


def test_file_placed_by_hand_needs_no_network_and_no_writing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT)
    get(site, tmp_path / "a.npz")
    assert site.ranges == []
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_damaged_cached_file_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT[:-1] + b"?")
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_cut_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000]
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=100000-"]
    assert site.conditions == [None, '"one"']
    assert site.sent == len(CONTENT)


def test_later_call_goes_on_where_an_interrupted_one_stopped(site: Site, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    site.cuts = [1_000]
    with pytest.raises(KeyboardInterrupt):
        get(site, tmp_path / "a.npz", progress=interrupt)
    kept = (tmp_path / "a.npz.part").stat().st_size
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={kept}-"]


def test_server_that_ignores_ranges_makes_it_start_over(site: Site, tmp_path: Path) -> None:
    site.knows_ranges, site.cuts = False, [100_000]
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.sent == 100_000 + len(CONTENT)


def test_changed_etag_makes_it_start_over(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz.part").write_bytes(b"of another version")
    (tmp_path / "a.npz.part.etag").write_text('"zero"')
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.conditions == ['"zero"']
    assert left(tmp_path) == {"a.npz"}


def test_weak_etag_is_no_condition(site: Site, tmp_path: Path) -> None:
    site.etag, site.cuts = 'W/"one"', [100_000]
    get(site, tmp_path / "a.npz")
    assert site.ranges == [None, "bytes=100000-"]
    assert site.conditions == [None, None]


@pytest.mark.parametrize("extra", [0, 1, 1_000])
def test_partial_file_as_long_or_longer_makes_it_start_over(
    site: Site, tmp_path: Path, extra: int
) -> None:
    (tmp_path / "a.npz.part").write_bytes(b"?" * (len(CONTENT) + extra))
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == [f"bytes={len(CONTENT) + extra}-", None]


def test_whole_partial_file_is_used_without_the_network(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz.part").write_bytes(CONTENT)
    get(site, tmp_path / "a.npz")
    assert site.ranges == []
    assert left(tmp_path) == {"a.npz"}


def test_range_from_elsewhere_makes_it_start_over(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz.part").write_bytes(CONTENT[:1_000])
    site.first_byte = 999
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-", None]


def test_progress_counts_up_to_the_whole_and_from_the_partial(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz.part").write_bytes(CONTENT[:200_000])
    told: list[tuple[int, int]] = []
    get(site, tmp_path / "a.npz", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[0][0] > 200_000
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_wrong_checksum_is_an_error_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"^a\.npz: expected MD5 0{32} .*, got [0-9a-f]{32}; "):
        get(site, tmp_path / "a.npz", md5="0" * 32)
    assert left(tmp_path) == set()
    assert len(site.ranges) == 1


def test_wrong_checksum_of_a_continued_file_leaves_nothing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.npz.part").write_bytes(b"?" * 1_000)
    with pytest.raises(DownloadError, match="expected MD5"):
        get(site, tmp_path / "a.npz")
    assert left(tmp_path) == set()


def test_absent_file_is_an_error_at_once(site: Site, tmp_path: Path) -> None:
    site.statuses = [404, 404]
    rule = r"^a\.npz: expected http.* to be there, got HTTP 404 Not Found; put the file with MD5 "
    with pytest.raises(DownloadError, match=rule):
        get(site, tmp_path / "a.npz")
    assert len(site.ranges) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_tried_again(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status, status]
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_tries_are_bounded(site: Site, tmp_path: Path) -> None:
    site.statuses = [500] * 10
    rule = r"^a\.npz: expected the whole file .*, got HTTP 500 .* \(3 tries\); check the network"
    with pytest.raises(DownloadError, match=rule):
        get(site, tmp_path / "a.npz", tries=3)
    assert len(site.ranges) == 3


def test_connection_that_keeps_breaking_is_an_error_that_keeps_the_part(
    site: Site, tmp_path: Path
) -> None:
    site.cuts = [1_000, 1_000]
    with pytest.raises(DownloadError, match=r"got 2,000 of 300,000 bytes \(2 tries\)"):
        get(site, tmp_path / "a.npz", tries=2)
    assert (tmp_path / "a.npz.part").read_bytes() == CONTENT[:2_000]


def test_no_network_is_an_error_that_says_where_to_put_the_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    where = re.escape(str(tmp_path / "a.npz"))
    with pytest.raises(
        DownloadError, match=rf"got Connection refused .*put the file .* at {where}$"
    ):
        get(Site(url=f"http://127.0.0.1:{port}/file.npz"), tmp_path / "a.npz", tries=2)


def test_disk_that_cannot_hold_the_file_is_an_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        DownloadError, match=r"^a\.npz: expected to store it in .*; free some space"
    ):
        get(site, tmp_path / "file" / "a.npz")
    assert site.ranges == []


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


def test_redirect_is_followed_with_its_range(site: Site, tmp_path: Path) -> None:
    site.location = site.url.replace("/file.npz", "/elsewhere")
    (tmp_path / "a.npz.part").write_bytes(CONTENT[:1_000])
    get(site, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-", "bytes=1000-"]


def test_callers_at_once_fetch_one_file_once(site: Site, tmp_path: Path) -> None:
    barrier = threading.Barrier(3)

    def call(_: int) -> None:
        barrier.wait()
        get(site, tmp_path / "a.npz")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(call, range(3)))
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert len(site.ranges) == 1
