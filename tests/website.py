"""A web server on this machine that misbehaves as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Site:
    """What the server does next, and what it was asked."""

    content: bytes = CONTENT
    etag: str = '"one"'
    knows_ranges: bool = True
    tells_length: bool = True
    first_byte: int | None = None
    location: str = ""
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    conditions: list[str | None] = field(default_factory=list)
    sent: int = 0
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    site: Site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        site.ranges.append(wanted)
        site.conditions.append(condition)
        if site.location and self.path.startswith("/file"):
            self._head(302, {"Location": site.location})
        elif site.statuses:
            self._head(site.statuses.pop(0), {})
        elif wanted and site.knows_ranges and condition in (None, site.etag):
            self._part(int(wanted.removeprefix("bytes=").removesuffix("-")))
        else:
            length = {"Content-Length": str(len(site.content))} if site.tells_length else {}
            self._head(200, {"ETag": site.etag, **length})
            self._body(site.content)

    def _part(self, start: int) -> None:
        site, total = self.server.site, len(self.server.site.content)
        if start >= total:
            self._head(416, {"Content-Range": f"bytes */{total}"})
            return
        start = start if site.first_byte is None else site.first_byte
        content_range = f"bytes {start}-{total - 1}/{total}"
        self._head(206, {"Content-Length": str(total - start), "Content-Range": content_range})
        self._body(site.content[start:])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, body: bytes) -> None:
        site = self.server.site
        body = body[: site.cuts.pop(0)] if site.cuts else body
        site.sent += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serve() -> Iterator[Site]:
    """Serve `Site.url` until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.site = Site(url=f"http://127.0.0.1:{server.server_port}/file.npz")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()
