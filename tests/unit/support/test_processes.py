"""Processes that work apart: killed with all that they started."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medlego.support import Pool, WorkerError
from medlego.support.processes import Worker
from waiting import PATIENCE_S, wait_until


def module(folder, name, body):
    (folder / f"{name}.py").write_text(
        f"from medlego.support.processes import Pool, serve_requests\n{body}"
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def is_alive(number):
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_worker_that_is_killed_takes_those_that_it_started_with_it(folder):
    module(
        folder,
        "inner",
        "import os, pathlib, time\n"
        f"def hang(_request, _content):\n"
        f"    pathlib.Path({str(folder / 'part')!r}).write_text(str(os.getpid()))\n"
        f"    os.rename({str(folder / 'part')!r}, {str(folder / 'pid')!r})\n"
        "    time.sleep(600)\n"
        "serve_requests(hang)\n",
    )
    module(
        folder,
        "outer",
        "pool = Pool('inner')\n"
        "serve_requests(lambda _request, _content: pool.ask({}, b'', 600.0))\n",
    )
    worker, messages = Worker("outer"), []

    def ask():
        try:
            worker.ask({}, b"", 600.0)
        except WorkerError as error:
            messages.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until((folder / "pid").exists)
    number = int((folder / "pid").read_text())
    assert is_alive(number)
    worker.kill()
    asking.join(PATIENCE_S)
    worker.close()
    wait_until(lambda: not is_alive(number))
    assert messages == ["its process ended"]


def test_a_pool_that_is_closed_ends_those_at_work(folder):
    said = folder / "begun"
    hang = f"pathlib.Path({str(said)!r}).touch() or time.sleep(600)"
    module(folder, "hangs", f"import pathlib, time\nserve_requests(lambda *_: {hang})\n")
    pool = Pool("hangs")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, {}, b"", 600.0)
        wait_until(said.exists)
        pool.close()
        assert str(asked.exception(PATIENCE_S)) == "its process ended"


def test_a_worker_inside_a_worker_is_killed_alone(folder, monkeypatch):
    module(
        folder, "slow", "import time\nserve_requests(lambda _request, _content: time.sleep(600))\n"
    )
    monkeypatch.setenv("MEDLEGO_WORKER", "1")
    with pytest.raises(WorkerError, match="took longer"):
        Pool("slow").ask({}, b"", 0.1)


def test_a_worker_whose_time_ends_with_its_answer_is_not_asked_again(folder, monkeypatch):
    module(folder, "quick", "serve_requests(lambda _request, _content: ({}, b''))\n")

    class Late(threading.Timer):
        def run(self):
            self.finished.wait()
            threading.Event().wait(0.1)
            self.function()

    monkeypatch.setattr(threading, "Timer", Late)
    worker = Worker("quick")
    worker.ask({}, b"", 600.0)
    assert not worker.works
    worker.close()
