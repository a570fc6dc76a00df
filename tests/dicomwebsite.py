"""A DICOMweb service on this machine that misbehaves as told."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

from dicomfiles import as_bytes
from medlego.serve import PacsAccess, PacsClient

_STUDY = ("StudyInstanceUID", "StudyDescription", "StudyDate")
_SERIES = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")
_PLACE = re.compile(
    r"/studies(?:/([\d.]+)(?:/series(?:/([\d.]+)(?:/instances(?:/([\d.]+))?)?)?)?)?"
)


@dataclass
class Archive:
    """What the service holds, how it behaves next, and what it was asked.

    `statuses` are answered first, one a request, 0 for the request's own; `search_answer` and
    `store_answer` (status, body) stand for what it would give under `json_type`, `instance_answer`
    (type, body) for an instance; `pause_s` is waited after each byte of an answer; `failures` are
    the failure reasons of the next objects that are stored. `stores` counts how often each UID
    came, `contents` has what came.
    """

    images: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    authorization: str | None = None
    knows_offset: bool = True
    tells_counts: bool = True
    garbles: bool = False
    swaps: bool = False
    redirects_to: str = ""
    json_type: str = "application/dicom+json"
    search_answer: bytes | None = None
    store_answer: tuple[int, bytes] | None = None
    instance_answer: tuple[str, bytes] | None = None
    pause_s: float = 0.0
    stores: Counter[str] = field(default_factory=Counter)
    contents: dict[str, set[bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, instance: FileDataset) -> str:
        """Take an object in; its UID."""
        self.images[str(instance.SOPInstanceUID)] = as_bytes(instance)
        return str(instance.SOPInstanceUID)

    def objects(self, modality: str) -> list[Dataset]:
        """All objects of a modality."""
        return [instance for instance in self.everything() if instance.Modality == modality]

    def everything(self) -> list[Dataset]:
        return [dcmread(BytesIO(content)) for content in self.images.values()]

    def results(self) -> list[str]:
        """UIDs of what was stored, each once."""
        return sorted(self.stores)

    def pacs(self, **access: Any) -> PacsClient:
        return PacsClient(PacsAccess(self.url, **access))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    archive: Archive


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        archive = self.server.archive
        if self._stopped():
            return
        match = _PLACE.fullmatch(urlsplit(self.path).path)
        assert match is not None, self.path
        study, series, instance = match.groups()
        if instance is not None:
            self._send_instance(instance)
            return
        asked = parse_qs(urlsplit(self.path).query)
        if archive.garbles:
            self._answer(200, b"<html>not here</html>", "text/html")
            return
        items = list(self._items(study, series, asked))
        if archive.knows_offset:
            items = items[int(asked.get("offset", ["0"])[0]) :][:2]
        text = json.dumps(items).encode()
        body = text if archive.search_answer is None else archive.search_answer
        self._answer(200, body, archive.json_type)

    def do_POST(self) -> None:
        content_type = self.headers["Content-Type"]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._stopped():
            return
        (boundary,) = re.findall('boundary="([^"]+)"', content_type)
        delimiter = f"--{boundary}".encode()
        answer = Dataset()
        answer.FailedSOPSequence = []
        for part in body.split(delimiter)[1:-1]:
            content = part.partition(b"\r\n\r\n")[2][:-2]
            self._take(content, answer)
        response = 202 if answer.FailedSOPSequence else 200, answer.to_json().encode()
        self._answer(*(self.server.archive.store_answer or response), self.server.archive.json_type)

    def _take(self, content: bytes, answer: Dataset) -> None:
        archive, instance = self.server.archive, dcmread(BytesIO(content))
        uid = str(instance.SOPInstanceUID)
        if archive.failures:
            failed = Dataset()
            failed.ReferencedSOPInstanceUID = uid
            failed.FailureReason = archive.failures.pop(0)
            answer.FailedSOPSequence.append(failed)
            return
        archive.stores[uid] += 1
        archive.contents.setdefault(uid, set()).add(content)
        archive.images[uid] = content

    def _items(self, study: str | None, series: str | None, asked: dict) -> Iterator[dict]:
        """One per study, series or instance, in DICOM JSON."""
        archive, seen = self.server.archive, set()
        level = "SOPInstanceUID" if series else "SeriesInstanceUID" if study else _STUDY[0]
        everything = archive.everything()
        for instance in everything:
            item = Dataset()
            for keyword in (*_STUDY, *(_SERIES if study else ()), *((level,) if series else ())):
                if keyword in instance:
                    setattr(item, keyword, instance[keyword].value)
            wanted = (study in (None, instance.StudyInstanceUID)) and (
                series in (None, instance.SeriesInstanceUID)
            )
            if "ModalitiesInStudy" in asked:
                wanted &= instance.Modality in asked["ModalitiesInStudy"]
            if not wanted or instance[level].value in seen:
                continue
            seen.add(instance[level].value)
            if not study and archive.tells_counts:
                item.NumberOfStudyRelatedInstances = sum(
                    each.StudyInstanceUID == instance.StudyInstanceUID for each in everything
                )
            yield item.to_json_dict()

    def _send_instance(self, uid: str) -> None:
        archive = self.server.archive
        if archive.swaps:
            uid = next(other for other in archive.images if other != uid)
        if uid not in archive.images:
            self._answer(404, b"", "text/plain")
            return
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + archive.images[uid]
        kind = 'multipart/related; type="application/dicom"; boundary=x'
        kind, body = archive.instance_answer or (kind, body + b"\r\n--x--\r\n")
        self._answer(200, body, kind)

    def _stopped(self) -> bool:
        """Whether something else than what was asked for has been answered."""
        archive = self.server.archive
        archive.asked.append(f"{self.command} {urlsplit(self.path).path}")
        if archive.redirects_to:
            self.send_response(302)
            self.send_header("Location", archive.redirects_to)
            self.end_headers()
        elif archive.statuses and (status := archive.statuses.pop(0)):
            self._answer(status, b"", "text/plain")
        elif archive.authorization not in (None, self.headers["Authorization"]):
            self._answer(401, b"", "text/plain")
        else:
            return False
        return True

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not self.server.archive.pause_s:
            self.wfile.write(body)
            return
        with suppress(OSError):  # nobody waits for it any longer
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(self.server.archive.pause_s)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def dicomweb_site(certificate: Path | None = None) -> Iterator[Archive]:
    """An empty archive on a free port; with TLS where there is a certificate with its key."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.archive = Archive()
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    server.archive.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
