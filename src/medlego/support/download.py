"""One file fetched over https and checked: pooch, with a rule on where bytes may come from.

A file counts as there when its MD5 sum is right; everything else is fetched again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from filelock import FileLock

from medlego.errors import DownloadError
from medlego.support.network import unreachable

ByteProgress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; the latter is 0 where the server does not say."""

_CHUNK = 1 << 20
_MAY_PASS = frozenset({408, 416, 425, 429})
"""HTTP statuses below 500 that are worth another try."""


def download(
    url: str,
    path: Path,
    *,
    md5: str,
    progress: ByteProgress | None = None,
    timeout_s: float = 30.0,
    tries: int = 4,
) -> None:
    """Bring `path` to the content that `md5` names, unless it has it.

    Bytes gather in the folder `PATH.tmp`, which is removed at the end; a call that was killed
    leaves it to the next one. `PATH.lock` lets one process at a time do so.

    Args:
        url: https, or http where the host is this machine.
        path: of the finished file; its folder is made.
        md5: of the whole file, 32 hexadecimal digits.
        progress: called after each piece that arrives; each try counts from 0.
        timeout_s: of one silence on the line, not of the whole.
        tries: connections made before giving up, at least 1; pooch waits a second longer before
            each one.

    Raises:
        DownloadError: no answer, a refusal, another content, or a disk that cannot hold it.
    """
    import pooch

    if not (_is_https(url) or _is_loopback(url)):
        raise DownloadError(f"{path.name}: expected an https address, got {url}; use https")

    def is_there() -> bool:
        return path.is_file() and pooch.file_hash(path, alg="md5") == md5

    by_hand = f"put the file with MD5 {md5} at {path}"
    try:
        if is_there():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not is_there():
                if (problem := unreachable(url)) is not None:
                    raise DownloadError(
                        f"{path.name}: expected it from {url}, got {problem}; connect to a "
                        f"network, or {by_hand}"
                    )
                downloader = _downloader(path.name, by_hand, progress, timeout_s)
                _fetch(url, path, md5, tries, by_hand, downloader)
    except OSError as error:
        raise DownloadError(
            f"{path.name}: expected to store it in {path.parent}, got {error.strerror or error}; "
            "free some space or set MEDLEGO_CACHE to another folder"
        ) from error


def _fetch(
    url: str, path: Path, md5: str, tries: int, by_hand: str, downloader: Callable[..., None]
) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    folder = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    cache = pooch.create(
        folder,
        base_url="",
        registry={path.name: f"md5:{md5}"},
        urls={path.name: url},
        retry_if_failed=tries - 1,
    )
    try:
        Path(cache.fetch(path.name, downloader=downloader)).replace(path)
    except (requests.RequestException, ValueError) as error:
        problem = "another content"  # pooch's ValueError is of the checksum
        if isinstance(error, requests.RequestException):
            problem = _root_cause(error)
        raise DownloadError(
            f"{path.name}: expected the file with MD5 {md5} from {url}, got {problem} "
            f"({tries} tries); check the network and run again, or {by_hand}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _downloader(
    name: str, by_hand: str, progress: ByteProgress | None, timeout_s: float
) -> Callable[..., None]:
    """What pooch calls with an address and the file to write.

    pooch tries again after an error of requests; a `DownloadError` ends it.
    """
    import requests

    def check(response: requests.Response, *_: Any, **__: Any) -> None:
        url, status = response.url, response.status_code
        if response.is_redirect:
            target = urljoin(url, response.headers["Location"])
            if not (_is_https(target) or (_is_loopback(target) and _is_loopback(url))):
                raise DownloadError(
                    f"{name}: expected {url} to lead to https, got {target}; {by_hand}"
                )
        elif 400 <= status < 500 and status not in _MAY_PASS:
            raise DownloadError(
                f"{name}: expected {url} to be there, got HTTP {status} {response.reason}; "
                f"{by_hand}"
            )
        response.raise_for_status()

    def fetch(url: str, target: str, _pooch: Any) -> None:
        request = requests.get(
            url,
            stream=True,
            timeout=timeout_s,
            headers={"User-Agent": "medlego", "Accept-Encoding": "identity"},
            hooks={"response": check},
            proxies={"http": ""},  # http is to this machine alone
        )
        with request as response, Path(target).open("wb") as stream:
            total = int(response.headers.get("Content-Length", 0))
            for chunk in response.iter_content(_CHUNK):
                stream.write(chunk)
                if progress is not None:
                    progress(stream.tell(), total)

    return fetch


def _is_https(url: str) -> bool:
    return urlsplit(url).scheme == "https"


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")


def _root_cause(error: BaseException) -> str:
    """Without the layers that requests and urllib3 wrap it in."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
