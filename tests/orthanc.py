"""A picture archive on this machine: Orthanc with its DICOMweb plugin, out of Debian's packages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from debian import program
from medlego.serve import PacsAccess, PacsClient

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PASSWORD = "medlego:secret"
STARTS_WITHIN_S = 120


@dataclass(frozen=True)
class Orthanc:
    """A running archive."""

    url: str
    password_file: Path

    @property
    def access(self) -> PacsAccess:
        return PacsAccess(f"{self.url}/dicom-web", password_file=self.password_file)

    @property
    def pacs(self) -> PacsClient:
        return PacsClient(self.access)

    def ask(self, path: str, data: bytes | None = None) -> Any:
        """Orthanc's own interface: a GET, or a POST of data; JSON or bytes."""
        request = urllib.request.Request(f"{self.url}{path}", data)
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, self.url, *PASSWORD.split(":"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(manager)
        )
        with opener.open(request, timeout=120) as answer:
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
        return json.loads(content) if is_json else content

    def put(self, files: Sequence[Path]) -> None:
        for path in files:
            self.ask("/instances", path.read_bytes())

    def objects(self, modality: str) -> list[bytes]:
        """The files of all instances of a modality."""
        series = [self.ask(f"/series/{each}") for each in self.ask("/series")]
        return [
            self.ask(f"/instances/{instance}/file")
            for each in series
            if each["MainDicomTags"]["Modality"] == modality
            for instance in each["Instances"]
        ]


@contextmanager
def orthanc(folder: Path, port: int | None = None) -> Iterator[Orthanc]:
    """An archive of its own in a folder; skips the test where there is none, but never under CI."""
    place = program("Orthanc", "orthanc")
    if not PLUGIN.exists():
        if os.environ.get("CI"):
            pytest.fail("no DICOMweb plugin: expected Debian's orthanc-dicomweb, see .ci/run")
        pytest.skip("no DICOMweb plugin: apt-get install orthanc-dicomweb")
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    (folder / "password").write_text(f"{PASSWORD}\n")
    user, _, secret = PASSWORD.partition(":")
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {user: secret},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([place, folder / "orthanc.json"], stdout=log, stderr=log)
        try:
            server = Orthanc(f"http://127.0.0.1:{port}", folder / "password")
            _wait(server, process, folder / "log")
            yield server
        finally:
            process.terminate()
            process.wait(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            server.ask("/system")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"Orthanc does not start:\n{log.read_text()}")
