"""Codecs run in worker processes with limits, so that a codestream can take down none but those.

Workers are kept between frames, one per thread that decodes at the same time, since starting
one takes longer than decoding a hundred frames (decision 023).
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from medlego.dicom.codecs import Codec

TIMEOUT_S = 60.0
"""Longest that one frame may take."""

_DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4"})


class GuardError(Exception):
    """A frame was not decoded; says why in a few words, without anything from the file."""


def decode_guarded(
    content: bytes, codec: Codec, said: dict[str, Any], *, timeout_s: float = TIMEOUT_S
) -> np.ndarray:
    """Decode one codestream in a worker.

    Args:
        content: the codestream.
        codec: what decodes it.
        said: the frame's options, see `medlego.dicom.decoding.options`.
        timeout_s: after this the worker is killed.

    Returns:
        (rows, columns) or (rows, columns, 3), integers.

    Raises:
        GuardError: the codec failed, took too long or too much, or its process ended.
    """
    worker = _pool.take()
    try:
        array = worker.decode(content, codec, said, timeout_s)
    except BaseException:
        if worker.works:
            _pool.give(worker)
        else:
            worker.close()
        raise
    _pool.give(worker)
    return array


class _Worker:
    """One process and the pipes to it. `works` is false once its answers are not to be had."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medlego.dicom.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.works = True

    def decode(
        self, content: bytes, codec: Codec, said: dict[str, Any], timeout_s: float
    ) -> np.ndarray:
        request = {
            "syntax": str(codec.syntax),
            "plugin": codec.plugin,
            "options": said,
            "bytes": len(content),
        }
        self.works = False
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.start()
        try:
            answer, body = self._ask(json.dumps(request).encode() + b"\n" + content)
        except (OSError, ValueError, KeyError):
            why = (
                f"it took longer than {timeout_s:g} s" if expired.is_set() else "its process ended"
            )
            raise GuardError(why) from None
        finally:
            timer.cancel()
        self.works = not expired.is_set()
        if "error" in answer:
            raise GuardError(f"{codec.package}: {answer['error']}")
        wanted = (said["rows"], said["columns"], 3)[: 3 if said["samples_per_pixel"] == 3 else 2]
        if tuple(answer["shape"]) != wanted or answer["dtype"] not in _DTYPES:
            raise GuardError("it gave pixels of another shape")
        return np.frombuffer(body, answer["dtype"]).reshape(wanted)

    def _ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(request)
        requests.flush()
        answer = json.loads(answers.readline())
        count = answer.get("bytes", 0)
        body = answers.read(count)
        if len(body) != count:
            raise ValueError("the answer is cut short")
        return answer, body

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Pool:
    """Workers that wait for frames; a process that forks leaves them to its parent."""

    def __init__(self) -> None:
        self._waiting: list[_Worker] = []
        self._lock = threading.Lock()
        self._left: list[_Worker] = []
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def take(self) -> _Worker:
        with self._lock:
            while self._waiting:
                worker = self._waiting.pop()
                if worker.lives:
                    return worker
                worker.close()
        return _Worker()

    def give(self, worker: _Worker) -> None:
        with self._lock:
            self._waiting.append(worker)

    def close(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for worker in waiting:
            worker.close()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._left, self._waiting = self._waiting, []


_pool = _Pool()
