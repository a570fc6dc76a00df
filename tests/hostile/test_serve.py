"""Whatever is sent, the service refuses it or answers it, and goes on."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from benchmarks.uploads import uploads
from medlego.serve import Service, make_app
from medlego.serve.response_models import PredictionsDocument, ProblemDocument
from serving import PATIENCE_S, SMALL, asking, files, here, make_place, on_a_socket, picture, png

LIMITS = SMALL.model_copy(update={"pixels": 4_000_000})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def directory(place):
    return place.generalist("routed")


@pytest.fixture(scope="module")
def client(place, directory):
    with asking(Service(directory, base_weights=place.weights, limits=LIMITS)) as client:
        yield client


def send(client, upload):
    headers = {"Content-Type": upload.content_type}
    return client.post("/v1/predict", content=upload.body, headers=headers)


def test_hostile_uploads_are_refused_or_answered_and_the_service_goes_on(client):
    statuses: Counter[int] = Counter()
    for upload in uploads(110, 0, LIMITS):
        answer = send(client, upload)
        statuses[answer.status_code] += 1
        if answer.status_code == 200:
            PredictionsDocument.model_validate(answer.json())
        else:
            assert 400 <= answer.status_code < 500, (upload.kind, answer.text)
            assert ProblemDocument.model_validate(answer.json()).problems
            assert "/proc/self" not in answer.text
    assert statuses[422] > 30
    assert statuses[200] > 5
    assert client.get("/health/ready").json()["status"] == "ready"
    assert client.post("/v1/predict", files=files(png(picture()))).status_code == 200


def test_uploads_are_the_same_for_the_same_seed():
    assert list(uploads(20, 3, LIMITS)) == list(uploads(20, 3, LIMITS))


@pytest.mark.parametrize(
    "path",
    ["/v1/../../etc/passwd", "/%2e%2e/etc/passwd", "/v1/bricks/..%2f..", "/static/%00", "//evil/"],
)
def test_paths_lead_nowhere_else(client, path):
    asked = f"http://127.0.0.1{path}"  # joined by the client, two slashes would name a host
    assert client.get(asked, follow_redirects=False).status_code == 404


# what OpenAPI says -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def port(place, directory):
    with on_a_socket(here(place, directory)) as (port, _server):
        yield port


def operations(place_, directory_):
    return schemathesis.openapi.from_dict(make_app(here(place_, directory_)).openapi())


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/v1/predict", "POST", GenerationMode.POSITIVE),
        ("/v1/predict", "POST", GenerationMode.NEGATIVE),
        ("/v1/generalist", "GET", GenerationMode.POSITIVE),
        ("/v1/bricks", "GET", GenerationMode.POSITIVE),
        ("/health/live", "GET", GenerationMode.POSITIVE),
        ("/health/ready", "GET", GenerationMode.POSITIVE),
        ("/metrics", "GET", GenerationMode.POSITIVE),
    ],
)
def test_no_request_made_by_the_openapi_document_is_a_fault(
    place, directory, port, path, method, mode
):
    operation = operations(place, directory)[path][method]

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        answer = case.call(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)
        case.validate_response(answer, checks=[not_a_server_error])

    check()


def test_openapi_document_tells_every_route(place, directory):
    paths = make_app(here(place, directory)).openapi()["paths"]
    assert sorted(paths) == [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v1/bricks",
        "/v1/generalist",
        "/v1/predict",
    ]


def test_openapi_document_tells_refusals_as_they_are_sent(client):
    responses = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["responses"]
    answer = client.post("/v1/predict", files=files(b"no image"))
    (kind,) = responses[str(answer.status_code)]["content"]
    assert answer.headers["content-type"] == kind
    assert set(responses["422"]["content"][kind]["schema"]["required"]) == set(answer.json())


def test_openapi_document_describes_the_form_that_is_taken(client):
    body = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert sorted(form["properties"]) == ["every_task", "images", "task"]
    assert form["properties"]["images"]["items"]["format"] == "binary"
    assert (form["required"], form["additionalProperties"]) == (["images"], False)
