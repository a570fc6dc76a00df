"""The page: who is let in, what it answers, and how bricks are changed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from dicomfiles import as_bytes, dataset
from factories import make_dataset
from medlego import __version__
from medlego.bricks import Signer, brick_bytes, sign_brick
from medlego.bricks.signing import signature_bytes
from medlego.cli.serve import PageOptions
from medlego.errors import SettingsError
from medlego.evaluation import GateLimits, check
from medlego.evaluation.gate import TaskLimits
from medlego.generalist import Generalist, Trust, remove, update
from medlego.generalist.trust import TrustedKey
from medlego.serve import PageGate, PageSettings, make_app
from medlego.serve.page.comparisons import Comparisons
from medlego.serve.page.pictures import VIEW_SIZE
from medlego.serve.page.sessions import LASTS_S, MAX_SESSIONS, Sessions
from medlego.serve.page.views import Change, percent
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
    unknown,
    wait_until,
)

TOKEN = "a token of some length"


@pytest.fixture
def client(place, routed):
    with asking(here(place, routed)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        yield client


@pytest.fixture
def locked(place, routed):
    with asking(here(place, routed), TOKEN) as client:
        yield client


@pytest.fixture
def editor(place, tmp_path):
    """A client that may edit a generalist of two bricks of its own, and its directory."""
    directory = place.generalist(f"edited-{tmp_path.name}", 2)
    gate = PageGate(GateLimits(default=TaskLimits(max_loss=1.0)), labelled)
    with asking(here(place, directory), page=PageSettings(edits=True, gate=gate)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        editing: Any = client
        editing.directory = directory
        yield editing


def labelled(tasks, _show):
    return {t.name: make_dataset(t.name, images=24) for t in tasks if t.name == "greys"}


def csrf(client):
    """The page's token against requests of other sites."""
    (token,) = re.findall(r'name="csrf" content="([^"]+)"', client.get("/page/").text)
    return token


def sign_in(client, token=TOKEN):
    return client.post("/page/sign-in", data={"token": token}, follow_redirects=False)


def sign_out(client, said):
    return client.post("/page/sign-out", data={"csrf": said}, follow_redirects=False)


def preview(client, uploads=None, **fields):
    """The page's answer once an edit is evaluated."""
    form = [(key, (None, value)) for key, value in fields.items()] + list((uploads or {}).items())
    answer = client.post("/page/edit/preview", files=form)
    if answer.status_code == 200:
        wait_until(lambda: status(client).json()["status"] != "evaluating")
        answer = status(client)
    return answer


def status(client):
    return client.post("/page/edit/status")


def act(client, what, html=None):
    """Press a button of the present proposal, or of one shown earlier."""
    html = html or status(client).json()["html"]
    button = re.search(f'data-action="({what}[^"]*)"', html)
    return client.post(f"/page/edit/{button[1] if button else what}")


@pytest.mark.parametrize("path", ["/", "/page"])
def test_the_root_leads_to_the_page(locked, path):
    response = locked.get(path, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/page/")


@pytest.mark.parametrize("path", ["/page/", "/page/compare", "/page/bricks"])
def test_a_page_asks_a_stranger_to_sign_in(locked, path):
    response = locked.get(path, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/page/sign-in")


@pytest.mark.parametrize("path", ["answers", "saliency", "comparison?other=x"])
def test_a_stranger_is_answered_nothing(locked, path):
    assert locked.post(f"/page/{path}", files=files(png(picture()))).status_code == 401


def test_nobody_is_asked_for_a_body_before_they_signed_in(place, routed):
    head = b"POST /page/answers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with (
        on_a_socket(here(place, routed), TOKEN) as (port, _),
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock,
    ):
        sock.sendall(head)
        assert sock.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_a_wrong_token_signs_nobody_in(locked):
    response = sign_in(locked, "another")
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


def test_the_right_token_signs_in_with_a_cookie_for_this_site_alone(locked):
    response = sign_in(locked)
    assert (response.status_code, response.headers["location"]) == (303, "/page/")
    cookie = response.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/page"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert locked.get("/page/").status_code == 200


def test_services_on_two_ports_of_a_host_leave_each_others_sessions_alone(place, routed):
    app = make_app(here(place, routed))
    names = {
        name
        for port in (8765, 8766)
        for name in TestClient(app, f"{OWN}:{port}").get("/page/").cookies
    }
    assert len(names) == 2


def test_a_session_does_not_open_the_programs_interface(locked):
    sign_in(locked)
    assert locked.get("/v1/generalist").status_code == 401


def test_a_form_larger_than_a_token_is_refused(locked):
    assert sign_in(locked, "x" * 5000).status_code == 413


def test_signing_out_ends_the_session(locked):
    cookie = sign_in(locked).headers["set-cookie"].partition(";")[0]
    response = sign_out(locked, csrf(locked))
    assert (response.status_code, response.headers["location"]) == (303, "/page/sign-in")
    response = locked.get("/page/", headers={"cookie": cookie}, follow_redirects=False)
    assert response.status_code == 303


def test_signing_out_twice_leads_to_the_sign_in_too(locked):
    sign_in(locked)
    said = csrf(locked)
    sign_out(locked, said)
    assert sign_out(locked, said).headers["location"] == "/page/sign-in"


@pytest.mark.parametrize("said", ["", "guessed"])
def test_another_sites_sign_out_leaves_the_session(locked, said):
    sign_in(locked)
    assert sign_out(locked, said).headers["location"] == "/page/"
    assert locked.get("/page/", follow_redirects=False).status_code == 200


def test_a_request_without_the_pages_word_is_refused(client):
    client.headers["x-csrf-token"] = "guessed"
    assert client.post("/page/answers", files=files(png(picture()))).status_code == 403


def test_a_request_of_another_sites_page_is_refused(client):
    response = client.post("/page/sign-out", headers={"origin": "http://elsewhere.example"})
    assert response.status_code == 403


def test_sessions_end_by_time():
    now = [0.0]
    sessions = Sessions(None, lambda: now[0])
    made = sessions.start()
    now[0] = LASTS_S - 1
    assert sessions.find(made.key) == made
    now[0] = LASTS_S
    assert sessions.find(made.key) is None


def test_of_too_many_sessions_unused_ones_end_first_then_the_longest_idle():
    sessions = Sessions(None)
    working, other = sessions.start(), sessions.start()
    assert sessions.find(other.key) == other
    assert sessions.find(working.key) == working
    unused = [sessions.start() for _ in range(2 * MAX_SESSIONS)]
    assert sessions.find(unused[0].key) is None
    assert sessions.find(unused[-1].key) == unused[-1]
    assert sessions.find(other.key) == other
    assert sessions.find(working.key) == working
    for _ in range(MAX_SESSIONS - 1):
        sessions.find(sessions.start().key)
        sessions.find(working.key)
    assert sessions.find(working.key) == working
    assert sessions.find(other.key) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_requests_make_no_sessions_and_end_none(client, site):
    own = client.get("/page/").text
    for _ in range(1100):
        other = client.get("/page/", headers={"sec-fetch-site": site, "cookie": ""})
    assert "set-cookie" not in other.headers
    assert "You come from another site" in other.text
    assert 'href="/page/"' in other.text
    assert client.get("/page/").text == own, "the same session, so the same word"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_person_who_opens_the_page_gets_a_session(client, site):
    answer = client.get("/page/", headers={"sec-fetch-site": site, "cookie": ""})
    assert "set-cookie" in answer.headers


def test_sessions_made_in_many_threads_are_all_kept():
    sessions, count = Sessions(None), MAX_SESSIONS // 2
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: sessions.start(), range(count)))
    finally:
        sys.setswitchinterval(before)
    assert [sessions.find(one.key) for one in made] == made


def test_a_page_may_fetch_from_nowhere_else(client):
    policy = client.get("/page/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["page.html", "..%2froutes.py", "routes.py"])
def test_only_the_pages_own_files_are_given_out(client, name):
    assert client.get(f"/page/static/{name}").status_code == 404


def test_the_page_is_no_part_of_the_programs_interface(client):
    assert not [p for p in client.get("/openapi.json").json()["paths"] if "page" in p]


def test_an_answer_is_that_of_the_programs_interface(client):
    sent = files(png(picture()))
    answer = client.post("/page/answers", files=sent).json()
    assert answer["document"] == client.post("/v1/predict", files=sent).json()


@pytest.mark.parametrize("path", ["answers", "comparison?other=beside-same"])
def test_an_image_is_decoded_once_and_does_not_come_whole_into_the_service(
    place, routed, monkeypatch, path
):
    service, sizes = here(place, routed), []
    ask = service.decoders._pool.ask

    def seen(request, content, timeout_s):
        answer, body = ask(request, content, timeout_s)
        sizes.append(len(body))
        return answer, body

    monkeypatch.setattr(service.decoders._pool, "ask", seen)
    with asking(service, page=PageSettings(beside={"same": routed})) as client:
        client.headers["x-csrf-token"] = csrf(client)
        response = client.post(f"/page/{path}", files=files(png(picture(0, 900))))
    assert "904 × 900 pixels" in response.json()["html"]
    assert sizes == [3 * (VIEW_SIZE**2 + 32**2) * 4]


def test_an_answer_never_repeats_a_files_name(client):
    sent = files(png(picture()), name="DOE^JOHN.png")
    assert "DOE^JOHN" not in client.post("/page/answers", files=sent).text


PERSON: dict[str, Any] = {
    "PatientName": "DOE^JOHN^^Dr",
    "PatientID": "20240131",
    "PatientBirthDate": "19610203",
    "StudyDescription": "<b>Knee</b>",
    "StudyDate": "20240131",
}


def test_an_answer_shows_whose_image_it_is_and_keeps_it_nowhere(place, routed, caplog):
    caplog.set_level(0)
    sent = files(as_bytes(dataset(picture(), **PERSON)))
    with asking(here(place, routed)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        answer = client.post("/page/answers", files=sent).json()
        metrics = client.get("/metrics").text
        document = client.post("/v1/predict", files=sent).text
    html = answer["html"]
    assert "<dt>patient</dt><dd><bdi>DOE, JOHN, Dr</bdi></dd>" in html
    assert "<dt>patient ID</dt><dd><bdi>20240131</bdi></dd>" in html
    assert "<dt>born</dt><dd><bdi>1961-02-03</bdi></dd>" in html
    assert "<dt>study</dt><dd><bdi>&lt;b&gt;Knee&lt;/b&gt;</bdi></dd>" in html
    logged = "".join(str(vars(record)) for record in caplog.records)
    written = b"".join(p.read_bytes() for p in place.folder.rglob("*") if p.is_file())
    for text in (json.dumps(answer["document"]), metrics, document, logged):
        assert not [word for word in ("DOE", "JOHN", "Knee", "1961") if word in text]
    assert b"DOE, JOHN" not in written
    assert b"DOE^JOHN" not in written


def test_only_the_page_has_headers_read_for_whose_image_it_is(place, routed, monkeypatch):
    service, asked = here(place, routed), []
    ask = service.decoders._pool.ask

    def seen(request, content, timeout_s):
        asked.append(request)
        return ask(request, content, timeout_s)

    monkeypatch.setattr(service.decoders._pool, "ask", seen)
    with asking(service) as client:
        client.post("/v1/predict", files=files(as_bytes(dataset(picture(), **PERSON))))
    assert [request["identify"] for request in asked] == [False]


def test_a_picture_names_no_patient(client):
    html = client.post("/page/answers", files=files(png(picture()))).json()["html"]
    assert "The file states no patient and no study." in html


def test_an_answer_says_when_and_what_gave_it(client):
    answer = client.post("/page/answers", files=files(png(picture()))).json()
    digest = answer["document"]["generalist"]
    said = rf"Answered \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC by medlego {__version__}, generalist"
    assert re.search(rf"{said} <code>{digest}</code>", answer["html"])


def test_only_greys_have_a_window(client):
    colours = np.stack([picture(n) for n in range(3)], axis=-1)
    for pixels, there in ((picture(), True), (colours, False)):
        html = client.post("/page/answers", files=files(png(pixels))).json()["html"]
        assert ("Window width" in html) is there


def test_an_answer_names_the_bricks_that_gave_it(client, place):
    html = client.post("/page/answers", files=files(png(picture()))).json()["html"]
    assert all(brick.digest in html for brick in place.bricks)


def test_an_image_like_no_other_is_not_answered_and_told_why(client):
    html = client.post("/page/answers", files=files(unknown())).json()["html"]
    assert "No answer." in html
    assert "Like no task&#39;s training images" in html


def test_a_file_that_is_no_image_is_refused_without_a_number(client):
    response = client.post("/page/answers", files=files(b"nothing"))
    assert response.status_code == 422
    assert response.json()["problems"][0].startswith("expected a PNG")


def explained(client, **more):
    digest = client.get("/v1/generalist").json()["digest"]
    asked = {"task": "greys", "label": "label-1", "generalist": digest, **more}
    return client.post("/page/saliency", files=files(png(picture())), data=asked)


def test_an_overlay_is_a_picture_of_the_inputs_size(client, place):
    uri = explained(client).json()["layer"]
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    with Pillow.open(BytesIO(content)) as layer:
        assert (layer.mode, layer.size) == ("RGBA", (place.base.ref.image_size,) * 2)
        assert np.asarray(layer)[..., 3].max() == 255


def test_an_overlay_of_another_state_than_answered_is_refused(client):
    assert explained(client, generalist="0" * 64).status_code == 409


def test_an_overlay_of_an_unknown_label_is_refused(client):
    assert explained(client, label="nonsense").status_code == 422


def test_an_overlay_of_no_label_is_refused(client):
    assert explained(client, label=[]).status_code == 422


def test_an_overlay_that_took_too_long_is_computed_to_its_end_before_the_next(
    place, routed, monkeypatch
):
    begun, goes_on = [], threading.Event()

    def slow(*_arguments, **_more):
        begun.append(True)
        goes_on.wait(PATIENCE_S)
        return []

    monkeypatch.setattr("medlego.serve.page.answers.explain", slow)
    limits = SMALL.model_copy(update={"answer_s": 0.2})
    with asking(here(place, routed, limits=limits)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        while not begun:
            assert explained(client).status_code == 503
        assert [explained(client).status_code for _ in range(2)] == [503] * 2
        goes_on.set()
    assert len(begun) == 1


def test_bricks_are_not_changed_where_that_is_not_allowed(client):
    assert preview(client, action="remove", task="greys").status_code == 404


def test_a_proposal_changes_nothing_yet(editor):
    before = Generalist.load(editor.directory).recipe.digest
    assert preview(editor, action="remove", task="found").json()["status"] == "ready"
    assert Generalist.load(editor.directory).recipe.digest == before


def test_a_proposal_shows_what_the_gate_measured(editor):
    html = preview(editor, action="remove", task="found").json()["html"]
    assert "The gate is passed." in html
    assert "balanced accuracy" in html


def test_a_gate_is_left_where_the_service_ends(place):
    reading, shown = threading.Event(), []

    def read(_tasks, show):
        show("reading", 0, 2)
        reading.set()
        wait_until(lambda: not service.open)
        show("reading", 1, 2)
        shown.append("after the end")
        return {}

    settings = PageSettings(edits=True, gate=PageGate(GateLimits(), read))
    service = here(place, place.generalist("left", 2))
    with asking(service, page=settings) as client:
        client.headers["x-csrf-token"] = csrf(client)
        form = {"action": (None, "remove"), "task": (None, "found")}
        client.post("/page/edit/preview", files=form)
        assert reading.wait(PATIENCE_S)
    assert shown == []


def test_a_gate_looks_up_between_batches(place):
    before, shown = Generalist.load(place.generalist("batches", 2)), []
    gate_data = {"greys": make_dataset("greys", images=24)}
    check(
        before, before, gate_data, base=place.base, show=lambda *progress: shown.append(progress[0])
    )
    assert shown == ["check greys", "greys", "greys", "checked"]


def test_an_edit_is_applied_with_its_gate_and_name_in_the_lineage(editor):
    preview(editor, action="remove", task="found", by="A. Radiologist")
    assert act(editor, "apply").json()["status"] == "applied"
    entry = Generalist.load(editor.directory).lineage[-1]
    assert entry.gate
    assert (entry.action, entry.by, entry.gate["passed"]) == ("remove", "A. Radiologist", True)


def test_the_service_answers_with_an_edit_at_once(editor):
    preview(editor, action="remove", task="found")
    act(editor, "apply")
    tasks = editor.get("/v1/generalist").json()["tasks"]
    assert [task["name"] for task in tasks] == ["greys"]


def test_an_edit_that_the_service_could_not_take_in_is_told_so(editor, monkeypatch):
    preview(editor, action="remove", task="found")

    def fail(_directory):
        raise OSError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(Generalist, "load", fail)
        answer = act(editor, "apply").json()
    assert answer["status"] == "applied"
    assert "got a directory that it cannot read" in answer["html"]
    assert "now answers with the new state" not in answer["html"]


def test_an_edit_that_fails_its_gate_cannot_be_applied(place):
    directory = place.generalist("gated", 2)
    gate = PageGate(GateLimits(default=TaskLimits(min_score=1.0)), labelled)
    with asking(here(place, directory), page=PageSettings(edits=True, gate=gate)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        assert preview(client, action="remove", task="found").json()["status"] == "rejected"
        assert act(client, "apply").status_code == 422
    assert len(Generalist.load(directory).lineage) == 1


def test_an_edit_that_cannot_be_evaluated_though_the_gate_requires_it_is_refused(place):
    gate = PageGate(GateLimits(require=("found",)), lambda _tasks, _show: {})
    directory = place.generalist("required", 2)
    with asking(here(place, directory), page=PageSettings(edits=True, gate=gate)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        assert preview(client, action="remove", task="greys").json()["status"] == "rejected"


def test_a_brick_is_added_and_the_edit_undone(editor, place):
    brick = place.bricks[2]
    upload = {"brick": ("x", brick_bytes(brick))}
    assert preview(editor, upload, action="add").json()["status"] == "ready"
    act(editor, "apply")
    assert Generalist.load(editor.directory).bricks[-1].digest == brick.digest
    assert preview(editor, action="undo").json()["status"] == "ready"
    act(editor, "apply")
    assert len(Generalist.load(editor.directory).bricks) == 2


def test_an_older_brick_is_taken_only_where_the_form_allows_it(place):
    directory, brick, key = place.generalist("older", 2), place.bricks[0], Signer.new()
    before = Generalist.load(directory)
    newer = replace(brick, settings={"retrained": True})
    after = update(before, newer).signed([sign_brick(newer, key, "2026-01-01T00:00:00Z")])
    after.commit(directory, after=before)
    signature = signature_bytes(sign_brick(brick, key, "2025-01-01T00:00:00Z"))
    uploads = {"brick": ("x", brick_bytes(brick)), "signature": ("y", signature)}
    with asking(here(place, directory), page=PageSettings(edits=True)) as client:
        client.headers["x-csrf-token"] = csrf(client)
        assert 'name="allow_older"' in client.get("/page/bricks").text
        refused = preview(client, uploads, action="update").json()
        allowed = preview(client, uploads, action="update", allow_older="true").json()
    assert (refused["status"], allowed["status"]) == ("rejected", "ready")
    assert "expected none older than what its task had here" in refused["html"]


def test_a_file_that_is_no_brick_is_refused(editor):
    response = preview(editor, {"brick": ("x", b"nothing")}, action="add")
    assert response.status_code == 422
    assert response.json()["problems"][0].startswith("brick: ")


def test_an_edit_after_another_one_is_refused(editor):
    preview(editor, action="remove", task="found")
    later = Generalist.load(editor.directory)
    remove(later, "greys").commit(editor.directory, after=later)
    assert act(editor, "apply").status_code == 422


def test_a_proposal_can_be_discarded(editor):
    preview(editor, action="remove", task="found")
    assert act(editor, "discard").json()["status"] == ""
    assert act(editor, "apply").status_code == 422


@pytest.mark.parametrize("what", ["apply", "discard"])
def test_a_proposal_that_took_the_place_of_the_one_seen_is_left_alone(editor, what):
    seen = preview(editor, action="remove", task="found").json()["html"]
    preview(editor, action="remove", task="greys")
    response = act(editor, what, seen)
    assert response.status_code == 422
    assert "expected the proposal on the page" in response.json()["problems"][0]
    assert len(Generalist.load(editor.directory).lineage) == 1
    assert status(editor).json()["status"] == "ready"


def test_an_edit_that_fails_unforeseen_leaves_room_for_the_next(editor, monkeypatch):
    preview(editor, action="remove", task="found")

    def fail(*_asked, **_more):
        raise OSError("no space left")

    monkeypatch.setattr(Generalist, "commit", fail)
    assert act(editor, "apply").status_code == 500
    assert status(editor).json()["status"] == "rejected"
    assert preview(editor, action="remove", task="found").json()["status"] == "ready"


@pytest.mark.parametrize("signs", [True, False])
def test_with_a_trust_file_only_signed_bricks_are_taken_in(place, signs):
    signer = Signer.new()
    key = TrustedKey(name="the university", public=signer.public.text, roles=("brick",))
    settings = PageSettings(edits=True, trust=Trust(key=(key,)))
    brick = place.bricks[2]
    signature = sign_brick(brick, signer if signs else Signer.new())
    uploads = {"brick": ("x", brick_bytes(brick)), "signature": ("y", signature_bytes(signature))}
    directory = place.generalist(f"signed-{signs}", 2)
    with asking(here(place, directory), page=settings) as client:
        client.headers["x-csrf-token"] = csrf(client)
        response = preview(client, uploads, action="add")
        assert (response.status_code == 200) == signs
        if signs:
            act(client, "apply")
            assert "✓ signed by the university" in client.get("/page/bricks").text


@pytest.mark.parametrize("signs", [True, False])
def test_with_a_trust_file_undoing_brings_back_signed_bricks_only(place, signs):
    signer = Signer.new()
    key = TrustedKey(name="the university", public=signer.public.text, roles=("brick",))
    settings = PageSettings(edits=True, trust=Trust(key=(key,)))
    directory = place.generalist(f"undone-{signs}", 2)
    before = Generalist.load(directory)
    signatures = [sign_brick(brick, signer) for brick in before.bricks] if signs else []
    remove(before.signed(signatures), "found").commit(directory, after=before)
    with asking(here(place, directory), page=settings) as client:
        client.headers["x-csrf-token"] = csrf(client)
        proposal = preview(client, action="undo").json()
    assert proposal["status"] == ("ready" if signs else "rejected")
    assert ("expected a signature" in proposal["html"]) != signs


def test_two_states_are_compared_by_what_each_answers(editor):
    before = editor.post("/v1/predict", files=files(png(picture()))).json()
    preview(editor, action="remove", task="found")
    act(editor, "apply")
    after = editor.post("/v1/predict", files=files(png(picture()))).json()
    response = editor.post("/page/comparison?other=entry-0", files=files(png(picture())))
    assert response.json()["document"] == {"present": after, "other": before}


def test_a_generalist_beside_is_compared_with(place, routed):
    settings = PageSettings(beside={"smaller": place.generalist("smaller", 1)})
    with asking(here(place, routed), page=settings) as client:
        client.headers["x-csrf-token"] = csrf(client)
        sent = files(png(picture()))
        html = client.post("/page/comparison?other=beside-smaller", files=sent).json()["html"]
        assert "smaller" in html


def ready(comparisons, name, present):
    return asyncio.run(comparisons.model(f"beside-{name}", present))


def test_a_generalist_beside_is_read_again_after_an_edit(place, routed):
    directory = place.generalist("beside-edited", 2)
    comparisons, present = Comparisons({"x": directory}), here(place, routed).model
    before = ready(comparisons, "x", present)
    assert ready(comparisons, "x", present) is before
    state = Generalist.load(directory)
    after = remove(state, "found")
    after.commit(directory, after=state)
    assert ready(comparisons, "x", present).digest == after.recipe.digest


def test_of_generalists_beside_those_last_asked_for_stay_ready(place, routed):
    beside = {name: place.generalist(f"beside-{name}", 1) for name in "abc"}
    comparisons, present = Comparisons(beside), here(place, routed).model
    first, second = (ready(comparisons, name, present) for name in "ab")
    assert ready(comparisons, "a", present) is first
    ready(comparisons, "c", present)
    assert ready(comparisons, "a", present) is first
    assert ready(comparisons, "b", present) is not second


@pytest.mark.parametrize("other", ["entry-7", "beside-/etc", "entry-x"])
def test_a_choice_that_the_page_does_not_offer_is_refused(client, other):
    response = client.post("/page/comparison", params={"other": other}, files=files(png(picture())))
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("prob", "words"), [(0.0, "< 0.1 %"), (1.0, "> 99.9 %"), (0.123, "12.3 %"), (0.5, "50.0 %")]
)
def test_no_probability_is_told_as_certain(prob, words):
    assert percent(prob) == words


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (0.5, 0.25, "+25.0"),
        (0.25, 0.5, "−25.0"),
        (0.5, 0.5000001, "0.0"),
        (None, 0.5, "answered"),
    ],
)
def test_a_difference_is_told_in_points_and_never_as_minus_nothing(here, there, words):
    assert Change("task", "label", here, there).words.startswith(words)


def set_up(generalist=None, **options):
    return PageOptions(**{"edits": True, **options}).settings(generalist)


def test_a_gate_without_data_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="--gate and --data"):
        set_up(gate=tmp_path)


def test_images_of_a_task_that_nothing_names_are_refused(routed, tmp_path):
    (tmp_path / "gate.toml").touch()
    with pytest.raises(SettingsError, match=r"--data: expected tasks out of .*greys.*, got greyz;"):
        set_up(Generalist.load(routed), gate=tmp_path / "gate.toml", data=["greyz=x.csv"])


def test_images_of_a_task_that_was_or_may_be_there_are_taken(place, tmp_path):
    before = Generalist.load(place.generalist("was-there", 2))
    (tmp_path / "gate.toml").write_text("[task.signs]\n")
    data = [f"{name}=x.csv" for name in ("greys", "found", "signs")]
    after = remove(before, "found")
    assert set_up(after, gate=tmp_path / "gate.toml", data=data).gate is not None


def test_a_folder_beside_must_be_a_generalists(tmp_path):
    with pytest.raises(SettingsError, match="--beside"):
        set_up(beside=[f"x={tmp_path}"])


def test_another_sites_form_cannot_sign_in(locked):
    response = locked.post(
        "/page/sign-in", content="token=x", headers={"origin": "http://elsewhere.example"}
    )
    assert response.status_code == 403
    assert OWN not in response.text
