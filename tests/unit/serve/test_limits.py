"""Who is let in, how much at once, and what the logs say of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from dicomfiles import as_bytes, dataset
from medlego.errors import ImageError, SettingsError
from medlego.prediction import Engine
from medlego.serve import ServiceLimits, bound, check_host, log_to
from medlego.serve.access import is_loopback
from medlego.serve.auth import AccessGuard
from medlego.serve.body_limits import BodyLimits
from medlego.serve.logs import LOGGER, JsonLines, log
from medlego.serve.problem_json import RequestError, problem
from medlego.serve.token_check import TokenCheck
from medlego.support import load_toml
from serving import (
    OWN,
    PATIENCE_S,
    SMALL,
    asking,
    files,
    here,
    on_a_socket,
    picture,
    png,
    raw,
    wait_until,
)

TOKEN = "0123456789abcdef-secret"


async def echo(scope, receive, send):
    """An app that tells how long a body it got."""
    try:
        body = await Request(scope, receive).body()
    except RequestError as error:
        await problem(error.status_code, error.problems)(scope, receive, send)
        return
    await PlainTextResponse(str(len(body)))(scope, receive, send)


# who ---------------------------------------------------------------------------------------------
def guarded(token=None, base_url=OWN):
    check = None if token is None else TokenCheck(token)
    return TestClient(AccessGuard(echo, check=check), base_url=base_url)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN.upper()}",
        b"Bearer \xff\xfe",
    ],
)
def test_without_the_token_nothing_is_answered(sent):
    headers = {} if sent is None else {"Authorization": sent}
    answer = guarded(TOKEN).get("/v1/generalist", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Bearer "])
def test_with_the_token_anybody_is_answered(scheme):
    client = guarded(TOKEN, "http://archive.example")
    answer = client.get("/", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status_code == 200


def test_health_needs_no_token():
    assert guarded(TOKEN).get("/health/live").status_code == 200


@pytest.mark.parametrize("path", ["/health/live/", "//health/live", "/health/../v1/bricks", "/x"])
def test_only_health_itself_needs_no_token(path):
    assert guarded(TOKEN).get(path).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8765", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example#@127.0.0.1", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_without_a_token_only_own_names_are_answered_to(host, status):
    assert guarded().get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:99", 403),
    ],
)
def test_a_form_of_another_sites_page_is_refused(origin, status):
    assert guarded().post("/", headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("hospital.example", False),
        ("", False),
    ],
)
def test_own_addresses_are_known(host, own):
    assert is_loopback(host) is own


def test_another_host_needs_a_token():
    with pytest.raises(
        SettingsError, match=r"--host: expected 127\.0\.0\.1 or ::1 where there is no"
    ):
        check_host("0.0.0.0", None)
    check_host("0.0.0.0", TOKEN)
    check_host("127.0.0.1", None)


def test_a_taken_port_is_named():
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(SettingsError, match="expected a host and a free port"),
    ):
        bound("127.0.0.1", other.getsockname()[1])


# how much ----------------------------------------------------------------------------------------
def test_a_body_within_the_limit_passes_whole():
    client = TestClient(BodyLimits(echo, limits=ServiceLimits(request_bytes=1000)))
    assert client.post("/", content=b"x" * 1000).text == "1000"


def parts(count, size=100):
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("content", [b"x" * 1001, parts(11)], ids=["declared", "chunked"])
def test_a_larger_body_is_refused(content):
    client = TestClient(BodyLimits(echo, limits=ServiceLimits(request_bytes=1000)))
    assert client.post("/", content=content).status_code == 413


@pytest.mark.parametrize("content", [b"x" * 600, parts(6)], ids=["declared", "chunked"])
def test_a_body_without_room_is_sent_away_for_a_while(content):
    limited_app = BodyLimits(echo, limits=ServiceLimits(held_bytes=500))
    answer = TestClient(limited_app).post("/", content=content)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (limited_app.reserved, limited_app.requests) == (0, 0)


def test_strangers_who_sign_in_slowly_take_nobody_elses_place(place, routed):
    limits = SMALL.model_copy(update={"requests": 1})
    slow = "POST /page/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
    body = (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
        + png(picture())
        + b"\r\n--b--\r\n"
    )
    more = f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    more += "Content-Type: multipart/form-data; boundary=b\r\n"
    with (
        on_a_socket(here(place, routed, limits=limits), TOKEN) as (port, _),
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as stranger,
    ):
        stranger.sendall(slow.encode())
        assert raw(port, head(len(body), more).encode() + body).startswith(b"HTTP/1.1 200 ")


def test_a_stranger_may_declare_no_more_than_a_token(place, routed):
    slow = "POST /page/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
    with on_a_socket(here(place, routed), TOKEN) as (port, _):
        answer = raw(port, f"{slow}Expect: 100-continue\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_room_is_given_back_whatever_becomes_of_a_request():
    async def fails(_scope, receive, _send):
        await receive()
        raise ZeroDivisionError

    limited_app = BodyLimits(fails, limits=ServiceLimits())
    for content in (b"x" * 500, parts(5)):
        with pytest.raises(ZeroDivisionError):
            TestClient(limited_app).post("/", content=content)
    assert (limited_app.reserved, limited_app.requests) == (0, 0)


def test_one_request_too_many_is_sent_away_and_health_still_answers(place, routed, monkeypatch):
    released, began = threading.Event(), threading.Event()
    answer = Engine.predict

    def wait(*asked):
        began.set()
        assert released.wait(PATIENCE_S)
        return answer(*asked)

    monkeypatch.setattr(Engine, "predict", wait)
    service = here(place, routed, limits=SMALL.model_copy(update={"requests": 1}))
    with asking(service) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/predict", files=files(png(picture())))
        assert began.wait(PATIENCE_S)
        refused = client.post("/v1/predict", files=files(png(picture())))
        assert client.get("/health/ready").status_code == 200
        released.set()
        assert first.result(PATIENCE_S).status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


def test_an_answer_that_takes_too_long_is_given_up(place, routed, monkeypatch):
    released = threading.Event()
    answer = Engine.predict
    late = lambda *asked: released.wait(PATIENCE_S) and answer(*asked)  # noqa: E731
    monkeypatch.setattr(Engine, "predict", late)
    service = here(place, routed, limits=SMALL.model_copy(update={"answer_s": 0.2}))
    with asking(service) as client:
        response = client.post("/v1/predict", files=files(png(picture())))
        released.set()
    assert response.status_code == 503


def test_a_model_thread_that_ended_shows_in_both_healths(place, routed):
    service = here(place, routed)
    with asking(service) as client:
        assert client.get("/health/live").status_code == 200
        service.batcher.close()
        assert client.get("/health/live").status_code == 503
        assert client.get("/health/ready").status_code == 503


@pytest.mark.parametrize("path", ["/v1/predict", "/page/answers"])
def test_nobody_waits_for_a_model_thread_that_ended(place, routed, path):
    service = here(place, routed)
    with asking(service) as client:
        service.batcher.close()
        html = client.get("/page/").text
        (client.headers["x-csrf-token"],) = re.findall(r'name="csrf" content="([^"]+)"', html)
        response = client.post(path, files=files(png(picture())))
    assert response.status_code == 503
    assert response.json()["problems"] == [
        "service: expected a running model, got none; restart it"
    ]


def test_unknown_limits_are_refused(tmp_path):
    (tmp_path / "limits.toml").write_text("image_bytes = 0\nimage_count = 3\n")
    with pytest.raises(SettingsError, match=r"(?s)image_bytes.*image_count"):
        load_toml(ServiceLimits, tmp_path / "limits.toml", SettingsError, "limits")


# on a socket -------------------------------------------------------------------------------------
def head(length, more=""):
    return f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{more}\r\n"


def limited(**limits):
    """A service's short limit, the others long: what comes late under load is not cut off."""
    return SMALL.model_copy(update={"header_s": PATIENCE_S, "upload_s": PATIENCE_S, **limits})


def test_headers_that_do_not_end_are_not_waited_for(place, routed):
    with on_a_socket(here(place, routed, limits=limited(header_s=0.2))) as (port, _):
        assert raw(port, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") == b""


def flood(sock, content):
    while True:
        sock.sendall(content)


def test_answers_that_are_not_read_are_not_waited_for(place, routed):
    requests = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000
    with (
        on_a_socket(here(place, routed, limits=limited(upload_s=0.2))) as (port, _),
        socket.socket() as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # soon full
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", port))
        with pytest.raises(ConnectionError):
            flood(sock, requests)


def test_a_body_that_does_not_come_is_not_waited_for(place, routed):
    with on_a_socket(here(place, routed, limits=limited(upload_s=0.2))) as (port, _):
        answer = raw(port, head(100, "Content-Type: multipart/form-data; boundary=b\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_too_large_is_refused_on_a_socket_while_it_is_sent(place, routed):
    size = SMALL.request_bytes + 30_000_000
    with on_a_socket(here(place, routed)) as (port, _):
        answer = raw(port, head(size, "Connection: close\r\n").encode() + b"x" * size)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_too_large_is_refused_before_it_is_sent(place, routed):
    with on_a_socket(here(place, routed)) as (port, _):
        answer = raw(port, head(1 << 40, "Expect: 100-continue\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("content", [b"\x16\x03\x01\x02", b"x" * 40_000])
def test_what_is_no_http_is_refused(place, routed, content):
    with on_a_socket(here(place, routed, limits=limited(header_s=0.2))) as (port, _):
        assert raw(port, content)[:13] in (b"", b"HTTP/1.1 400 ")


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_being_stopped_finishes_what_is_under_way(place, routed, monkeypatch):
    released, began = threading.Event(), threading.Event()
    answer = Engine.predict

    def wait(*asked):
        began.set()
        assert released.wait(PATIENCE_S)
        return answer(*asked)

    monkeypatch.setattr(Engine, "predict", wait)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
        + png(picture())
        + b"\r\n--b--\r\n"
    )
    asked = head(len(body), "Content-Type: multipart/form-data; boundary=b\r\n").encode() + body
    with on_a_socket(here(place, routed)) as (port, server), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(raw, port, asked)
        assert began.wait(PATIENCE_S)
        server.should_exit = True
        wait_until(lambda: not _listens(port))
        released.set()
        assert under_way.result(PATIENCE_S).startswith(b"HTTP/1.1 200 ")


# processes that read -----------------------------------------------------------------------------
def stop(decoders, number):
    """Send the one waiting process a signal."""
    process = decoders._pool._waiting[0]._process
    os.kill(process.pid, number)
    return process


def again(decoders):
    (image,) = asyncio.run(decoders.decode(png(picture()), [32]))
    assert image.pixels.shape == (3, 32, 32)


def test_a_decoder_that_takes_too_long_is_replaced(decoders):
    process = stop(decoders, signal.SIGSTOP)
    decoders._limits = SMALL.model_copy(update={"decode_s": 0.3})
    with pytest.raises(ImageError, match=r"it took longer than 0\.3 s"):
        asyncio.run(decoders.decode(png(picture()), [32]))
    assert process.poll() is not None
    decoders._limits = SMALL
    again(decoders)


def test_a_decoder_that_died_is_replaced(decoders):
    stop(decoders, signal.SIGKILL).wait()
    again(decoders)


def test_pixels_beyond_the_limit_are_not_decoded(decoders):
    decoders._limits = SMALL.model_copy(update={"pixels": 319})
    with pytest.raises(ImageError, match="expected at most 319 pixels, got 20 × 16"):
        asyncio.run(decoders.decode(png(picture()), [32]))
    decoders._limits = SMALL
    again(decoders)


def test_errors_name_no_file(decoders):
    with pytest.raises(ImageError, match=r"^expected a PNG"):
        asyncio.run(decoders.decode(b"no image", [32]))


def test_uploads_lie_on_no_disk(place, routed, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    noise = png(picture(0, 1200))
    assert len(noise) > 1 << 20
    limits = SMALL.model_copy(update={"image_bytes": 3 << 20})
    with asking(here(place, routed, limits=limits)) as client:
        assert client.post("/v1/predict", files=files(noise)).status_code == 200


# logs --------------------------------------------------------------------------------------------
@pytest.fixture
def lines(monkeypatch):
    """Everything that any logger says at any level, as the service writes it."""
    stream, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    monkeypatch.setattr(root, "handlers", [handler])
    level = root.level
    root.setLevel(logging.DEBUG)
    LOGGER.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.setLevel(level)
    LOGGER.setLevel(logging.NOTSET)


SECRETS = ("DOE^JOHN", "SECRET_4711", "DOE.dcm")


def ask_with_secrets(client, content):
    return client.post(
        "/v1/predict?patient=SECRET_4711",
        files=files(content, name="DOE.dcm"),
        headers={"X-Patient": "SECRET_4711", "User-Agent": "DOE^JOHN"},
    )


def test_a_request_is_logged_without_anything_that_came_in(place, routed, lines):
    said: dict[str, Any] = {"PatientName": "DOE^JOHN", "PatientID": "SECRET_4711"}
    whole = as_bytes(dataset(picture(), **said))
    broken = as_bytes(dataset(picture(), **said, PhotometricInterpretation="SECRET_4711"))
    service = here(place, routed)
    with asking(service) as client:
        assert ask_with_secrets(client, whole).status_code == 200
        assert ask_with_secrets(client, broken).status_code == 422
        client.get("/SECRET_4711")
        client.post("/v1/predict", data={"task": "DOE^JOHN", "SECRET_4711": "1"})
        client.request("DOE^JOHN", "/")
        client.request("SECRETJOHN", "/page/static/SECRET_4711/DOE^JOHN")
        text = service.metrics.text().decode()
    assert not [secret for secret in (*SECRETS, "JOHN") if secret in text]
    records = lines()
    asked = [line for line in records if line["event"] == "request"]
    assert [line["status"] for line in asked] == [200, 422, 404, 415, 405, 405]
    assert {line["method"] for line in asked} == {"GET", "POST", "?"}
    assert {line["route"] for line in asked} <= {"/v1/predict", "/", "none"}
    assert not [line for line in records if any(secret in json.dumps(line) for secret in SECRETS)]


def test_a_log_line_has_nothing_that_a_terminal_obeys(lines):
    hidden = "\n\x1b[31m\x9b2J\u202e\u2028"
    log("refused", problem=hidden)
    record = logging.LogRecord(LOGGER.name, 20, "", 1, "refused", (), None)
    record.fields = {"problem": hidden}
    assert JsonLines().format(record).isprintable()
    assert lines()[0]["problem"] == hidden


def test_a_fault_is_logged_by_kind_and_place_and_tells_the_caller_nothing(
    place, routed, lines, monkeypatch
):
    def fail(*_asked):
        raise ZeroDivisionError("DOE^JOHN")

    monkeypatch.setattr(Engine, "predict", fail)
    with asking(here(place, routed)) as client:
        answer = client.post("/v1/predict", files=files(png(picture())))
    (fault,) = [line for line in lines() if line["event"] == "fault"]
    assert fault["error"] == "ZeroDivisionError"
    assert any("batching.py" in frame for frame in fault["where"])
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == fault["request"]
    assert "DOE" not in answer.text + json.dumps(fault)


def test_words_of_other_libraries_are_not_logged(lines):
    logging.getLogger("pydicom").warning("patient %s", "DOE^JOHN")
    (line,) = lines()
    assert (line["event"], line["logger"]) == ("library", "pydicom")
    assert "DOE" not in json.dumps(line)


def test_warnings_and_faults_of_threads_are_logged_by_kind_and_place():
    def fail():
        raise ZeroDivisionError("DOE^JOHN")

    stream = StringIO()
    with log_to(stream), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("DOE^JOHN", UserWarning, stacklevel=1)
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    warned, failed = map(json.loads, stream.getvalue().splitlines())
    assert (warned["event"], warned["warning"]) == ("warning", "UserWarning")
    assert (failed["event"], failed["error"]) == ("fault", "ZeroDivisionError")
    assert all(Path(__file__).name in line["where"][-1] for line in (warned, failed))
    assert "DOE" not in stream.getvalue()


def test_what_logging_took_over_is_given_back():
    def taken():
        root = logging.getLogger()
        hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook
        return root.handlers[:], root.level, *hooks

    before = taken()
    with log_to(StringIO()):
        during = taken()
    assert taken() == before
    assert not {*during[2:]} & {*before[2:]}
