"""The routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from medlego import __version__
from medlego.errors import GeneralistError
from medlego.serve.auth import SIGN_IN, AccessGuard
from medlego.serve.body_limits import Admission
from medlego.serve.documents import (
    BrickDocument,
    GeneralistDocument,
    HealthDocument,
    PredictionsDocument,
    ProblemDocument,
    brick_documents,
    generalist_document,
    predictions_document,
)
from medlego.serve.forms import SCHEMA, read_form
from medlego.serve.page import PageSettings, add_page
from medlego.serve.problem_json import MEDIA_TYPE, RequestError, problem
from medlego.serve.request_log import Observing
from medlego.serve.service import Service, UploadError

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}},
        "description": told,
    }
    for status, told in {
        400: "Not a whole request.",
        401: "No token, or another.",
        403: "From a page of another site.",
        408: "The upload took too long.",
        413: "Too large.",
        415: "Not a multipart form.",
        421: "For another host.",
        422: "Images that cannot be read, an unknown task, or another field.",
        503: "Busy; come back after Retry-After seconds.",
    }.items()
}


def make_app(
    service: Service, *, token: str | None = None, page: PageSettings = PageSettings()
) -> FastAPI:
    """The service as an ASGI application, which starts and closes it.

    Args:
        service: found by routes as `request.app.state.service`.
        token: what callers must send; without one only this machine's own names are answered to.
        page: how the page for people is run.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    app = FastAPI(
        title="medlego",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # both fetch scripts from a network
        redoc_url=None,
    )
    app.state.service = service
    _add_predict(app, service)
    _add_facts(app, service)
    _add_health(app, service)
    _add_refusals(app)
    add_page(app, service, page, token)
    app.add_middleware(Admission, limits=service.limits, strangers=SIGN_IN)
    app.add_middleware(AccessGuard, token=token)
    app.add_middleware(Observing, metrics=service.metrics)  # the outermost
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predict", openapi_extra=SCHEMA, responses=_REFUSALS)
    async def predict(request: Request) -> PredictionsDocument:
        """Answer images, as `medlego predict` does."""
        asked = await read_form(request, service.limits)
        try:
            async with asyncio.timeout(service.limits.answer_s):
                found = await service.predict(asked.images, asked.task, every_task=asked.every_task)
        except TimeoutError:
            raise RequestError(503, ["answer: expected within the time limit, was not"]) from None
        return predictions_document(
            found.model, [image.applied for image in found.images], found.found
        )


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/generalist", responses={401: _REFUSALS[401], 421: _REFUSALS[421]})
    def generalist() -> GeneralistDocument:
        """The generalist that answers: tasks, recipe, lineage and card."""
        return generalist_document(service.keeper)

    @app.get("/v1/bricks", responses={401: _REFUSALS[401], 421: _REFUSALS[421]})
    def bricks() -> list[BrickDocument]:
        """Its bricks, with cards and who signed them."""
        return brick_documents(service.model)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", responses={503: {"model": HealthDocument}})
    def live(response: Response) -> HealthDocument:
        """Whether it should be left running."""
        if service.batcher.lives:
            return HealthDocument(status="live")
        response.status_code = 503
        return HealthDocument(status="failed")

    @app.get("/health/ready", responses={503: {"model": HealthDocument}})
    def ready(response: Response) -> HealthDocument:
        """Whether it takes requests; `stale` where the directory's present state is broken."""
        keeper = service.keeper
        status = "ready" if keeper.problem is None else "stale"
        if not (service.open and service.batcher.lives):
            status, response.status_code = "closed", 503
        return HealthDocument(status=status, generalist=keeper.model.digest)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={401: _REFUSALS[401], 421: _REFUSALS[421]},
    )
    def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    def refused(_request: Request, error: RequestError) -> Response:
        return problem(error.status, error.problems)

    @app.exception_handler(UploadError)
    def unreadable(_request: Request, error: UploadError) -> Response:
        return problem(422, error.problems)

    @app.exception_handler(GeneralistError)
    def unknown(_request: Request, error: GeneralistError) -> Response:
        return problem(422, [str(error)])

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, _error: RequestValidationError) -> Response:
        return problem(422, ["request: expected what /openapi.json says, got another"])

    @app.exception_handler(HTTPException)
    def other(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, [], error.headers)
