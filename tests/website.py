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
    tells_length: bool = True
    location: str = ""
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    asked: int = 0
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    site: Site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        site.asked += 1
        if site.location and self.path.startswith("/file"):
            self._head(302, {"Location": site.location})
        elif site.statuses:
            self._head(site.statuses.pop(0), {})
        else:
            length = {"Content-Length": str(len(site.content))} if site.tells_length else {}
            self._head(200, length)
            self.wfile.write(site.content[: site.cuts.pop(0)] if site.cuts else site.content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

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
