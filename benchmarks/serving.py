"""`medlego serve` as a process of its own, asked over its socket and watched from outside."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.uploads import FORM

_START_S = 300


@dataclass(frozen=True)
class Served:
    """A service that answers at a port of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    def rss_mib(self) -> float:
        """Memory that is resident in the service and every process below it."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    after = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents[int(entry.name)] = (int(after[1]), int(after[21]))
        total, wanted = 0, {self.process.pid}
        while wanted:
            total += sum(pages for pid, (_, pages) in parents.items() if pid in wanted)
            wanted = {pid for pid, (parent, _) in parents.items() if parent in wanted}
        return round(total * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextmanager
def served(
    directory: Path, log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """`medlego serve` on a free port, with its log in a file; stopped with the block.

    Raises:
        RuntimeError: it ended before it answered, or ended badly.
    """
    code = "import sys; sys.argv[0] = 'medlego'; from medlego.cli import main; main()"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", str(directory), "--port", "0", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Served(process, _port(process, log))
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
    if status:
        raise RuntimeError(f"the service ended with {status}; see {log}")


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Once the service is ready, the port that it names in its log."""
    for _ in range(_START_S * 10):
        lines = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
        ready = any("startup complete" in line.get("message", "") for line in lines)
        ports = [line["port"] for line in lines if line["event"] == "listening"]
        if ready and ports:
            return int(ports[0])
        if process.poll() is not None:
            raise RuntimeError(f"the service did not start; see {log}")
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"the service was not ready after {_START_S} s; see {log}")


def post(connection: http.client.HTTPConnection, body: bytes, kind: str = FORM) -> tuple[int, Any]:
    """Status and document of one request to `/v1/predict`."""
    connection.request("POST", "/v1/predict", body, {"Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content else None
