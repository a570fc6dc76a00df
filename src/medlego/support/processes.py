"""Processes of their own, with limits, for work that may take any time, any memory, or the process.

A worker is a module run by `python -m`, spoken to through its pipes. A request is a line of JSON,
in which `bytes` counts what follows it, and that many bytes; an answer is the same. The end of the
requests ends the process. Workers are kept, one per thread that asks at the same time. A worker and
those that it starts by itself are one process group, so that none outlives the one that was killed.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from medlego.support.values import NoPickle

Handle = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]
"""What a worker does: a request and its bytes to an answer and its bytes."""

_INSIDE = "MEDLEGO_WORKER"
"""Set in a worker's environment."""


class WorkerError(Exception):
    """There is no answer; says why in a few words, without anything from the request."""


class Worker:
    """One process and the pipes to it. `works` is false once its answers are not to be had."""

    def __init__(self, module: str) -> None:
        self._leads = _INSIDE not in os.environ
        environment = {
            **os.environ,
            _INSIDE: "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            process_group=0 if self._leads else None,
        )
        self.works = True

    def ask(
        self, request: Mapping[str, Any], content: bytes, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to one request, and its bytes.

        Raises:
            WorkerError: it took longer than `timeout_s` and was killed, or its process ended.
        """
        self.works = False
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.start()
        try:
            spelled = json.dumps({**request, "bytes": len(content)}).encode()
            answer, body = self._exchange(spelled + b"\n", content)
        except (OSError, ValueError, KeyError):
            why = (
                f"it took longer than {timeout_s:g} s" if expired.is_set() else "its process ended"
            )
            raise WorkerError(why) from None
        finally:
            timer.cancel()
            timer.join()  # it may have begun to kill
        self.works = not expired.is_set()
        return answer, body

    def _exchange(self, request: bytes, content: bytes) -> tuple[dict[str, Any], bytes]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(request)
        requests.write(content)
        requests.flush()
        answer = json.loads(answers.readline())
        body = answers.read(answer["bytes"])
        if len(body) != answer["bytes"]:
            raise ValueError("the answer is cut short")
        return answer, body

    @property
    def lives(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Kill the process, and those that it started, and wait for its end."""
        self.kill()
        self._process.communicate()

    def kill(self) -> None:
        """Kill the process, and those that it started; whoever asks it gets no answer."""
        if self._process.returncode is not None:
            return
        if self._leads and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()


class Pool(NoPickle, instead="start one there"):
    """Workers of one module that wait for work; a process that forks leaves them to its parent."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._waiting: deque[Worker] = deque()
        self._busy: set[Worker] = set()
        self._of_parent: deque[Worker] = deque()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def ask(
        self, request: Mapping[str, Any], content: bytes, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """As `Worker.ask`, by one that waits or a new one."""
        worker = self._take()
        self._busy.add(worker)
        try:
            return worker.ask(request, content, timeout_s)
        finally:
            self._busy.discard(worker)
            if worker.works:
                self._waiting.append(worker)
            else:
                worker.close()

    def close(self) -> None:
        """End those that wait and those at work, whose answers are not to be had any more."""
        with suppress(IndexError):
            while True:
                self._waiting.pop().close()
        for worker in self._busy.copy():
            worker.kill()

    def _take(self) -> Worker:
        with suppress(IndexError):
            while True:
                worker = self._waiting.pop()
                if worker.lives:
                    return worker
                worker.close()
        return Worker(self._module)

    def _forked(self) -> None:
        self._of_parent, self._waiting = deque([*self._waiting, *self._busy]), deque()
        self._busy = set()


def serve_requests(handle: Handle) -> None:
    """In the worker: answer requests until there are no more.

    The pipe to the caller is kept apart from what libraries print.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    requests = sys.stdin.buffer
    while line := requests.readline():
        request = json.loads(line)
        answer, body = handle(request, requests.read(request["bytes"]))
        answers.write(json.dumps({**answer, "bytes": len(body)}).encode() + b"\n" + body)
        answers.flush()


def limit_resources(memory_bytes: int, file_bytes: int) -> None:
    """In the worker: cap its memory and the files it writes, forbid core dumps, where one can.

    Memory is address space; processes that it starts have the same bound of their own.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
