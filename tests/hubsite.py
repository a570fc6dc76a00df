"""A server on this machine that speaks what pushing and pulling need of the Hugging Face hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SHA = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """One repository: its files, and what was asked of it."""

    repository: str
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""


class _Server(ThreadingHTTPServer):
    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(self.path)

    def do_HEAD(self) -> None:
        self._answer(self.path)

    def do_POST(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub.tokens.add(self.headers["Authorization"])
        if path == f"/api/models/{hub.repository}/preupload/main":
            asked = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self._json({"files": files})
        elif path == f"/api/models/{hub.repository}/commit/main":
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "header":
                    hub.commits.append(item["value"]["summary"])
                else:
                    value = item["value"]
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            self._json({"commitUrl": f"{hub.url}/{hub.repository}/commit/{SHA}", "commitOid": SHA})
        else:
            self._missing()

    def _answer(self, target: str) -> None:
        hub, path = self.server.hub, unquote(urlsplit(target).path)
        resolved = f"/{hub.repository}/resolve/"
        if path.startswith(f"/api/models/{hub.repository}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": SHA}
                for name, content in hub.files.items()
            ]
            self._json(tree)
        elif path in (
            f"/api/models/{hub.repository}",
            f"/api/models/{hub.repository}/revision/main",
        ):
            siblings = [{"rfilename": name} for name in hub.files]
            self._json({"id": hub.repository, "sha": SHA, "siblings": siblings})
        elif path.startswith(resolved):
            name = path.removeprefix(resolved).partition("/")[2]
            if name in hub.files:
                self._file(hub.files[name])
            else:
                self._missing()
        else:
            self._missing()

    def _file(self, content: bytes) -> None:
        self._send(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def _json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _missing(self) -> None:
        self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        sent = {"X-Repo-Commit": SHA, "Content-Length": str(len(content)), **headers}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_hub(repository: str) -> Iterator[Hub]:
    """Serve one empty repository while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub = Hub(repository)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
