"""The routes of programs, and the application put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from medlego import __version__
from medlego.errors import MedLegoError
from medlego.evaluation import generalist_card, generalist_facts
from medlego.serve.auth import SIGN_IN, AccessGuard
from medlego.serve.body_limits import BodyLimits
from medlego.serve.forms import PredictForm, read_form
from medlego.serve.page.page import PageSettings
from medlego.serve.page.routes import add_page
from medlego.serve.problem_json import MEDIA_TYPE, RequestError, problem
from medlego.serve.request_log import RequestLog
from medlego.serve.response_models import (
    BrickAnswer,
    GeneralistDocument,
    HealthDocument,
    PredictionsDocument,
    ProblemDocument,
)
from medlego.serve.service import Service
from medlego.serve.token_check import TokenCheck

Responses = dict[int | str, dict[str, Any]]

_REFUSALS: Responses = {
    status: {
        "content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}},
        "description": description,
    }
    for status, description in {
        400: "Not a whole request.",
        401: "No token, or a wrong one.",
        403: "From a page of another site.",
        408: "The upload took too long.",
        413: "Too large.",
        415: "Not a multipart form.",
        421: "For another host.",
        429: "Too many wrong tokens; try again after Retry-After seconds.",
        422: "Images that cannot be read, an unknown task, or an unknown field.",
        503: "Busy; try again after Retry-After seconds.",
    }.items()
}
_UNAUTHORISED: Responses = {status: _REFUSALS[status] for status in (401, 421, 429)}
_UNHEALTHY: Responses = {503: {"model": HealthDocument}}
_PREDICT_BODY = {
    "required": True,
    "content": {"multipart/form-data": {"schema": PredictForm.model_json_schema()}},
}


async def _service(request: Request) -> Any:
    return request.app.state.service


ServiceOfApp = Annotated[Service, Depends(_service)]
router = APIRouter()


@router.post("/v1/predict", openapi_extra={"requestBody": _PREDICT_BODY}, responses=_REFUSALS)
async def predict(request: Request, service: ServiceOfApp) -> PredictionsDocument:
    """Answer images, as `medlego predict` does."""
    form = await read_form(request, PredictForm, service.limits)
    task = form.task or None
    if task and form.every_task:
        raise RequestError(422, ["form: expected task or every_task, got both; choose one"])
    try:
        async with asyncio.timeout(service.limits.answer_s):
            result = await service.predict(form.images, task, every_task=form.every_task)
    except TimeoutError:
        raise RequestError(503, ["answer: expected within the time limit, was not"]) from None
    return PredictionsDocument.of(result.model, result.answers)


@router.get("/v1/generalist", response_model_exclude={"bricks"}, responses=_UNAUTHORISED)
def generalist(service: ServiceOfApp) -> GeneralistDocument:
    """The generalist that answers: tasks, recipe, lineage and card."""
    model = service.model
    return GeneralistDocument(
        **generalist_facts(model.generalist),
        entry=model.entry,
        base=model.generalist.base.model_dump(mode="json"),
        mode=model.generalist.recipe.mode,
        card=generalist_card(model.generalist),
        problem=service.reloader.problem,
    )


@router.get("/v1/bricks", responses=_UNAUTHORISED)
def bricks(service: ServiceOfApp) -> list[BrickAnswer]:
    """Its bricks, with cards and who signed them."""
    model = service.model
    return [
        BrickAnswer.of(brick, model.signatures.get(brick.digest))
        for brick in model.generalist.bricks
    ]


@router.get("/health/live", responses=_UNHEALTHY)
def live(service: ServiceOfApp, response: Response) -> HealthDocument:
    """Whether it should be left running."""
    if service.batcher.lives:
        return HealthDocument(status="live")
    response.status_code = 503
    return HealthDocument(status="failed")


@router.get("/health/ready", responses=_UNHEALTHY)
def ready(service: ServiceOfApp, response: Response) -> HealthDocument:
    """Whether it takes requests; `stale` where the directory's present state is broken."""
    status = "ready" if service.reloader.problem is None else "stale"
    if not (service.open and service.batcher.lives):
        status, response.status_code = "closed", 503
    return HealthDocument(status=status, generalist=service.model.digest)


@router.get("/metrics", response_class=PlainTextResponse, responses=_UNAUTHORISED)
def metrics(service: ServiceOfApp) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return problem(error.status_code, getattr(error, "problems", []), error.headers)
    if isinstance(error, MedLegoError):
        return problem(422, getattr(error, "problems", [str(error)]))
    return problem(422, ["request: expected what /openapi.json describes, got another"])


def make_app(
    service: Service, *, token: str | None = None, page: PageSettings = PageSettings()
) -> FastAPI:
    """The service as an ASGI application, which starts and closes it.

    Args:
        service: found by routes as `request.app.state.service`.
        token: what callers must send; without one only this machine's own names are answered to.
        page: how the page for people is run.

    Raises:
        SettingsError: a token that may be guessed.
    """

    check = None if token is None else TokenCheck(token, service.metrics.token)

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
        exception_handlers=dict.fromkeys(
            (HTTPException, MedLegoError, RequestValidationError), _refuse
        ),
    )
    app.state.service = service
    app.include_router(router)
    add_page(app, service, page, check)
    app.add_middleware(BodyLimits, limits=service.limits, open_path=SIGN_IN)
    app.add_middleware(AccessGuard, check=check)
    app.add_middleware(RequestLog, metrics=service.metrics)  # the outermost
    return app
