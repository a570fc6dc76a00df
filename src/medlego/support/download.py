"""One file fetched over https: resumed where it broke off, checked, and stored once.

A file counts as there when its MD5 sum is right; everything else is fetched again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from medlego.errors import DownloadError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ByteProgress = Callable[[int, int], None]
"""Told bytes done and bytes in all; the latter is 0 where the server does not say."""

_CHUNK = 1 << 20
_STRONG_ETAG = re.compile(r'"[!#-~]*"')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_PASSING_STATUS = frozenset({408, 416, 425, 429})


def download(
    url: str,
    path: Path,
    *,
    md5: str,
    progress: ByteProgress | None = None,
    timeout_s: float = 30.0,
    tries: int = 4,
    pause_s: float = 1.0,
) -> None:
    """Bring `path` to the content that `md5` names, unless it has it.

    Bytes gather in `PATH.part`, from which a later call goes on where the server allows it.
    `PATH.lock` lets one process at a time do so; it is left behind, empty.

    Args:
        url: https, or http where the host is this machine.
        path: of the finished file; its folder is made.
        md5: of the whole file, 32 hexadecimal digits.
        progress: called after each piece that arrives.
        timeout_s: of one silence on the line, not of the whole.
        tries: connections made before giving up, at least 1.
        pause_s: before the second try; doubled before each later one.

    Raises:
        DownloadError: no answer, a refusal, another content, or a disk that cannot hold it.
    """
    if not (_is_https(url) or _is_loopback(url)):
        raise DownloadError(f"{path.name}: expected an https address, got {url}; use https")
    job = _Job(url, path, md5, progress, timeout_s)
    try:
        if _has(path, md5):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(f"{path.name}.lock")):
            if not _has(path, md5):
                _gather(job, tries, pause_s)
    except OSError as error:
        raise DownloadError(
            f"{path.name}: expected to store it in {path.parent}, got {_said(error)}; "
            "free some space or set MEDLEGO_CACHE to another folder"
        ) from error


@dataclass(frozen=True)
class _Job:
    url: str
    path: Path
    md5: str
    progress: ByteProgress | None
    timeout_s: float

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def etag(self) -> Path:
        """Holds the ETag of the version that `part` is the beginning of."""
        return self.path.with_name(f"{self.path.name}.part.etag")

    @property
    def by_hand(self) -> str:
        return f"put the file with MD5 {self.md5} at {self.path}"


class _RetryError(Exception):
    """A try that ended early and may go better next time."""


def _gather(job: _Job, tries: int, pause_s: float) -> None:
    for number in range(tries):
        if number:
            time.sleep(pause_s * 2 ** (number - 1))
        try:
            got = _go_on(job)
            break
        except _RetryError as error:
            last = error
    else:
        raise DownloadError(
            f"{job.path.name}: expected the whole file from {job.url}, got {last} ({tries} tries); "
            f"check the network and run again, or {job.by_hand}"
        ) from last
    if got != job.md5:
        _discard(job)
        raise DownloadError(
            f"{job.path.name}: expected MD5 {job.md5} from {job.url}, got {got}; run again, and "
            f"should it repeat, {job.by_hand}"
        )
    job.part.replace(job.path)
    job.etag.unlink(missing_ok=True)


def _go_on(job: _Job) -> str:
    """Fetch what the partial file lacks and return the MD5 of the whole."""
    job.part.touch()
    digest, done = _digest(job.part), job.part.stat().st_size
    if digest.hexdigest() == job.md5:
        return job.md5
    with _open(job, done) as response, job.part.open("ab") as stream:
        start, total = _extent(response)
        if start not in (0, done):
            _discard(job)
            raise _RetryError(f"bytes from {start:,} instead of {done:,}")
        if start == 0:
            digest, done = hashlib.md5(usedforsecurity=False), 0
            stream.truncate(0)
            _note_etag(job, response)
        for chunk in _chunks(response):
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if job.progress is not None:
                job.progress(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    if total and done != total:
        raise _RetryError(f"{done:,} of {total:,} bytes")
    return digest.hexdigest()


def _open(job: _Job, done: int) -> HTTPResponse:
    headers = {"User-Agent": "medlego"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if etag := _noted_etag(job):
            headers["If-Range"] = etag
    try:
        response: HTTPResponse = _opener(job).open(
            Request(job.url, headers=headers), timeout=job.timeout_s
        )
        return response
    except HTTPError as error:
        error.close()
        status = f"HTTP {error.code} {error.reason}"
        if error.code == 416:
            _discard(job)
        if error.code >= 500 or error.code in _PASSING_STATUS:
            raise _RetryError(status) from error
        raise DownloadError(
            f"{job.path.name}: expected {job.url} to be there, got {status}; {job.by_hand}"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{job.path.name}: expected a trusted certificate from {job.url}, got "
                f"{reason.verify_message}; set SSL_CERT_FILE to your network's, or {job.by_hand}"
            ) from error
        raise _RetryError(_said(reason)) from error


def _opener(job: _Job) -> OpenerDirector:
    handlers: list[BaseHandler] = [_SafeRedirects(job)]
    if _is_loopback(job.url):
        handlers.append(ProxyHandler({}))
    return build_opener(*handlers)


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects to https, and from this machine to itself."""

    def __init__(self, job: _Job) -> None:
        self.job = job

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if _is_https(newurl) or (_is_loopback(newurl) and _is_loopback(self.job.url)):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        fp.close()
        raise DownloadError(
            f"{self.job.path.name}: expected {self.job.url} to lead to https, got {newurl}; "
            f"{self.job.by_hand}"
        )


def _is_https(url: str) -> bool:
    return urlsplit(url).scheme == "https"


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")


def _extent(response: HTTPResponse) -> tuple[int, int]:
    """Where the body starts in the file, and the file's length or 0."""
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise _RetryError("a part without a Content-Range")
        return int(match[1]), 0 if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else 0


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _RetryError(_said(error)) from error


def _note_etag(job: _Job, response: HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    if _STRONG_ETAG.fullmatch(etag):
        job.etag.write_text(etag, encoding="latin-1")
    else:
        job.etag.unlink(missing_ok=True)


def _noted_etag(job: _Job) -> str | None:
    """The ETag of the partial file; without one the checksum alone tells versions apart."""
    etag = job.etag.read_text(encoding="latin-1") if job.etag.exists() else ""
    return etag if _STRONG_ETAG.fullmatch(etag) else None


def _discard(job: _Job) -> None:
    job.part.unlink(missing_ok=True)
    job.etag.unlink(missing_ok=True)


def _has(path: Path, md5: str) -> bool:
    return path.is_file() and _digest(path).hexdigest() == md5


def _digest(path: Path) -> hashlib._Hash:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))


def _said(error: object) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait for `lock` and hold it; the system lets go of it should the process die."""
    with lock.open("ab") as stream:
        if sys.platform == "win32":
            _lock_on_windows(stream)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if sys.platform == "win32":

    def _lock_on_windows(stream: IO[bytes]) -> None:
        stream.seek(0)
        while True:
            try:
                return msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLOCK:
                    raise
