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


@dataclass
class Hub:
    """One repository: its files, what was asked of it, and how it misbehaves.

    `earlier` has the files of each commit before; `status` is what every request is answered with
    in place of what it asks for; `cut` is how many bytes of a file come before the line breaks;
    `sizes` are stated in place of true ones.
    """

    repository: str
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""
    earlier: dict[str, dict[str, bytes]] = field(default_factory=dict)
    status: int = 0
    cut: int | None = None
    sizes: dict[str, int | None] = field(default_factory=dict)
    sha: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The newest commit."""
        return self.sha or f"{len(self.commits):040x}"

    def at(self, revision: str) -> dict[str, bytes]:
        """The files of a commit, else of the branch."""
        return self.earlier.get(revision, self.files)


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
        if hub.status:
            self._send(hub.status, b"{}", {})
        elif path == "/api/repos/create":
            hub.made.append(json.loads(body))
            self._json({"url": f"{hub.url}/{hub.repository}"})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == f"/api/models/{hub.repository}/preupload/main":
            asked = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self._json({"files": files})
        elif path == f"/api/models/{hub.repository}/commit/main":
            items = [json.loads(line) for line in body.splitlines()]
            parent = items[0]["value"].get("parentCommit", hub.head)
            if parent != hub.head:
                self._send(412, b"{}", {})
                return
            hub.earlier[hub.head] = dict(hub.files)
            for item in items:
                key, value = item["key"], item["value"]
                if key == "header":
                    hub.commits.append(value["summary"])
                elif key == "deletedFile":
                    del hub.files[value["path"]]
                else:
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{hub.url}/{hub.repository}/commit/{hub.head}"
            self._json({"commitUrl": url, "commitOid": hub.head})
        else:
            self._missing()

    def _answer(self, target: str) -> None:
        hub, path = self.server.hub, unquote(urlsplit(target).path)
        resolved = f"/{hub.repository}/resolve/"
        model = f"/api/models/{hub.repository}"
        if hub.status:
            self._send(hub.status, b"{}", {})
        elif path.startswith(f"/api/models/{hub.repository}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hub.head}
                for name, content in hub.files.items()
            ]
            self._json(tree)
        elif path == model or path.startswith(f"{model}/revision/"):
            revision = path.removeprefix(f"{model}/revision/")
            siblings = [
                {"rfilename": name, "size": hub.sizes.get(name, len(content))}
                for name, content in hub.at(revision).items()
            ]
            sha = revision if revision in hub.earlier else hub.head
            self._json({"id": hub.repository, "sha": sha, "siblings": siblings})
        elif path.startswith(resolved):
            revision, _, name = path.removeprefix(resolved).partition("/")
            files = hub.at(revision)
            if name in files:
                hub.fetched.append(name)
                self._file(files[name])
            else:
                self._missing()
        else:
            self._missing()

    def _file(self, content: bytes) -> None:
        cut = self.server.hub.cut
        length = {"Content-Length": str(len(content))}
        etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        self._send(200, content if cut is None else content[:cut], etag | length)

    def _json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _missing(self) -> None:
        self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        sent = {
            "X-Repo-Commit": self.server.hub.head,
            "Content-Length": str(len(content)),
            **headers,
        }
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
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
