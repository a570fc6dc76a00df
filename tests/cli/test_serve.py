"""`medlego serve` as a user starts and stops it."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys

import pytest

from medlego.cli.app import app
from medlego.cli.outcome import run_app
from serving import PATIENCE_S, make_place

CODE = "import sys; sys.argv[0] = 'medlego'; from medlego.cli import main; main()"


def refused(capsys, *words: object) -> str:
    assert run_app(app, ["serve", *map(str, words)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_without_the_extra_it_is_named(capsys, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'medlego[serve]'" in refused(capsys, tmp_path)


def test_another_host_without_a_token_is_refused_before_anything_else(capsys, tmp_path):
    message = refused(capsys, tmp_path / "none", "--host", "0.0.0.0")
    assert "--host: expected 127.0.0.1 or ::1 where there is no token, got '0.0.0.0'" in message


def test_a_proxy_is_an_address_or_a_network(capsys, tmp_path):
    message = refused(capsys, tmp_path, "--proxy", "::1", "--proxy", "*")
    assert "--proxy: '*' does not appear to be an IPv4 or IPv6 network" in message


def test_a_token_file_that_is_not_there_is_refused(capsys, tmp_path):
    message = refused(capsys, tmp_path, "--token-file", tmp_path / "token")
    assert "expected a token of at least 128 random bits and at most" in message
    assert "found nothing there" in message


def test_a_directory_that_is_none_is_refused(capsys, tmp_path):
    assert "found no generalist.json" in refused(capsys, tmp_path, "--port", 0)


def test_limits_that_are_none_are_refused(capsys, tmp_path):
    (tmp_path / "limits.toml").write_text("images = 'many'\n")
    assert "images" in refused(capsys, tmp_path, "--limits", tmp_path / "limits.toml")


def test_images_of_no_task_are_refused_at_the_start(capsys, tmp_path):
    place = make_place(tmp_path)
    (tmp_path / "gate.toml").touch()
    words = [place.generalist("g"), "--port", 0, "--base-weights", place.weights, "--edits"]
    words += ["--gate", tmp_path / "gate.toml", "--data", "greyz=x.csv"]
    assert "got greyz" in refused(capsys, *words)


def started(tmp_path, code, limits):
    """A service's process once it answers, its port, and the lines that it has logged."""
    place = make_place(tmp_path)
    (tmp_path / "token").write_text(f"{secrets.token_hex(16)}\n")
    (tmp_path / "limits.toml").write_text(f"decoders = 1\n{limits}\n")
    words = [place.generalist("g"), "--port", 0, "--base-weights", place.weights]
    words += ["--token-file", tmp_path / "token", "--limits", tmp_path / "limits.toml"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    lines = []
    assert process.stderr
    for line in process.stderr:
        lines.append(json.loads(line))
        if "startup complete" in lines[-1].get("message", ""):
            break
    (port,) = [line["port"] for line in lines if line["event"] == "listening"]
    return process, port, lines


def test_it_serves_until_it_is_stopped_which_is_no_failure(tmp_path):
    process, port, lines = started(tmp_path, CODE, "")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/v1/bricks")
    assert connection.getresponse().status == 401
    connection.close()
    process.send_signal(signal.SIGTERM)
    out, rest = process.communicate(timeout=PATIENCE_S)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 0
    assert lines[-1]["event"] == "closed"
    assert f"at http://127.0.0.1:{port}" in out


NEVER_DONE = """
import time
import medlego.serve.server as server
from medlego.serve.page.page import Page
from medlego.serve.reload import Reloader

def stay(*_):
    print("begun", flush=True)
    time.sleep(10**6)

class Explaining(Page):
    def __init__(self, *words):
        super().__init__(*words)
        self.explaining.submit(stay)

server.CLOSE_S = 0.5
"""
PLACES = {
    "explaining": "import medlego.serve.page.routes as routes; routes.Page = Explaining",
    "reloading": "Reloader.check = stay",
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("answer_s", "signals"), [(0.1, 1), (10**6, 2)])
def test_a_thread_that_never_ends_does_not_keep_a_stopped_service(
    tmp_path, answer_s, signals, where
):
    code = "\n".join([NEVER_DONE, PLACES[where], CODE])
    process, _, _ = started(tmp_path, code, f"answer_s = {answer_s}")
    assert "begun\n" in iter(process.stdout.readline, "")
    process.send_signal(signal.SIGTERM)
    assert any("Shutting down" in line for line in process.stderr)
    if signals == 2:
        process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert json.loads(rest.splitlines()[-1])["event"] == "cut short"
