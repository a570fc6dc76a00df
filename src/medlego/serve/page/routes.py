"""The page's routes. Each asks for a session; those that change or cost something, for its word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse

from medlego.errors import MedLegoError
from medlego.images import Image
from medlego.prediction import Found, tasks_to_ask
from medlego.saliency import Saliency, explain
from medlego.saliency.overlay import scale
from medlego.serve.access import PAGE, SIGN_IN
from medlego.serve.documents import predictions_document
from medlego.serve.forms import Asked, read_form
from medlego.serve.models import Model
from medlego.serve.page.brickform import read_edit
from medlego.serve.page.desk import Desk
from medlego.serve.page.html import html, render
from medlego.serve.page.others import Others
from medlego.serve.page.pictures import VIEW_SIZE, overlay_layer, view
from medlego.serve.page.sessions import (
    CSRF_HEADER,
    LASTS_S,
    Session,
    Sessions,
    cookie_name,
)
from medlego.serve.page.settings import PageSettings
from medlego.serve.page.shown import brick_rows, changes, entry_rows, image_card
from medlego.serve.problems import RequestError
from medlego.serve.reading import Fitted
from medlego.serve.service import Service, UploadError

_STATIC = {
    "page.css": "text/css",
    "shared.js": "text/javascript",
    "images.js": "text/javascript",
    "compare.js": "text/javascript",
    "bricks.js": "text/javascript",
}


class Page:
    """What the routes share."""

    def __init__(self, service: Service, settings: PageSettings, token: str | None) -> None:
        self.service, self.settings = service, settings
        self.sessions = Sessions(token)
        self.desk = Desk(service, settings.gate)
        self.others = Others(settings.beside)
        self.explaining = ThreadPoolExecutor(1, "medlego-explaining")
        """One at a time: a thread that is not waited for any more still computes."""

    def session(self, request: Request) -> Session | None:
        """The browser's, if it is signed in."""
        return self.sessions.find(request.cookies.get(_cookie(request)))

    def signed_in(self, request: Request) -> Session:
        """For routes that change or cost something.

        Raises:
            RequestError: not signed in, or not asked by the page.
        """
        session = self.session(request)
        if session is None:
            raise RequestError(401, ["session: expected to be signed in, was not; sign in again"])
        if not session.vouches(request.headers.get(CSRF_HEADER, "")):
            raise RequestError(403, ["request: expected one by the page, got another; reload it"])
        return session

    def shown(self, request: Request, name: str, **told: Any) -> Response:
        """A whole page; whoever must sign in first is sent there."""
        session = self.session(request)
        fresh = None
        if session is None:
            if self.sessions.asks:
                return RedirectResponse(SIGN_IN, 303)
            session = fresh = self.sessions.sign_in()
        assert session is not None
        response = html(
            name,
            csrf=session.csrf,
            asks=self.sessions.asks,
            problem=self.service.keeper.problem,
            model=self.service.model,
            **told,
        )
        if fresh is not None:
            keep(response, fresh, request)
        return response


def add_page(
    app: FastAPI, service: Service, settings: PageSettings, token: str | None = None
) -> None:
    """Put the page below `PAGE`; `/` leads to it.

    Args:
        app: catches `RequestError`, `UploadError` and `GeneralistError`.
        service: answers images.
        settings: how the page is run.
        token: what people sign in with; None lets everybody in.
    """
    page = Page(service, settings, token)
    app.include_router(_entrance(page))
    app.include_router(_pages(page))
    app.include_router(_answers(page))
    if settings.edits:
        app.include_router(_edits(page))


def keep(response: Response, session: Session, request: Request) -> None:
    """Set the session's cookie, for this site alone and out of reach of scripts."""
    response.set_cookie(
        _cookie(request),
        session.key,
        max_age=LASTS_S,
        path=PAGE,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _cookie(request: Request) -> str:
    """By the port that is listened at, which a proxy's callers do not see."""
    _, port = request.scope.get("server") or ("", None)
    return cookie_name(port)


def _entrance(page: Page) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get(PAGE)
    def root() -> Response:
        return RedirectResponse(f"{PAGE}/", 303)

    @router.get(f"{PAGE}/static/{{name}}")
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404)
        content = (files("medlego.serve.page") / "static" / name).read_bytes()
        return Response(content, media_type=_STATIC[name])

    @router.get(SIGN_IN)
    def sign_in_page() -> Response:
        return html("sign_in.html", wrong=False)

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        session = page.sessions.sign_in(await _field(request, "token"))
        if session is None:
            return html("sign_in.html", 401, wrong=True)
        response = RedirectResponse(f"{PAGE}/", 303)
        keep(response, session, request)
        return response

    @router.post(f"{PAGE}/sign-out")
    async def sign_out(request: Request) -> Response:
        session = page.session(request)
        if session is not None:
            if not session.vouches(await _field(request, "csrf")):
                return RedirectResponse(f"{PAGE}/", 303)  # asked by a page of an older session
            page.sessions.end(session)
        response = RedirectResponse(SIGN_IN, 303)
        response.delete_cookie(_cookie(request), path=PAGE)
        return response

    return router


async def _field(request: Request, name: str) -> str:
    """Of a form that a browser sends without any script; empty where it is missing."""
    content = (await request.body()).decode("latin-1")
    return parse_qs(content).get(name, [""])[0].strip()


def _pages(page: Page) -> APIRouter:
    router = APIRouter(prefix=PAGE, include_in_schema=False)

    @router.get("/")
    def images(request: Request) -> Response:
        return page.shown(request, "images.html", here="images")

    @router.get("/compare")
    def compare(request: Request) -> Response:
        choices = page.others.choices(page.service.model.generalist.lineage)
        return page.shown(request, "compare.html", here="compare", choices=choices)

    @router.get("/bricks")
    def bricks(request: Request) -> Response:
        model = page.service.model
        generalist = model.generalist
        names = {digest: brick.task.name for digest, brick in generalist.archive.bricks.items()}
        names |= {brick.digest: brick.task.name for brick in generalist.bricks}
        return page.shown(
            request,
            "bricks.html",
            here="bricks",
            bricks=brick_rows(generalist.bricks, model, page.settings.trust),
            sites={
                capability.task.name: len(capability.bricks)
                for capability in generalist.capabilities
            },
            entries=entry_rows(generalist.lineage, names),
            edits=page.settings.edits,
            gated=page.settings.gate is not None,
            signed_only=page.settings.trust is not None,
            desk=page.desk,
        )

    return router


def _answers(page: Page) -> APIRouter:
    service, trust = page.service, page.settings.trust
    router = APIRouter(prefix=PAGE, include_in_schema=False, dependencies=[Depends(page.signed_in)])

    @router.post("/answers")
    async def answers(request: Request, number: int = 1) -> Response:
        sent = await _one_image(request, service)
        async with _in_time(service):
            (image,) = await service.read(sent.images, VIEW_SIZE)
            answered = await service.predict(sent.images, sent.task)
        return JSONResponse(
            {
                "html": render(
                    "answer.html",
                    number=number,
                    picture=await asyncio.to_thread(view, image),
                    size=_size(image),
                    applied=image.applied,
                    card=image_card(answered.model, answered.found[0], trust),
                    model=answered.model,
                ),
                "document": _document(answered.model, image, answered.found),
            }
        )

    @router.post("/saliency")
    async def saliency(request: Request) -> Response:
        sent = await _one_image(request, service, ("label", "generalist"))
        model, label = service.model, sent.more.get("label")
        if sent.task is None or label is None:
            raise RequestError(422, ["task and label: expected both, got one or none"])
        if sent.more.get("generalist") != model.digest:
            raise RequestError(
                409, ["generalist: expected the one that answered, got a newer; ask it again"]
            )
        async with _in_time(service):
            (image,) = await service.read(sent.images, model.base.ref.image_size)
            asked = partial(explain, label=label, base=model.base)
            (found,) = await asyncio.get_running_loop().run_in_executor(
                page.explaining, asked, model.generalist, [image], sent.task
            )
        return JSONResponse(
            {"layer": await asyncio.to_thread(overlay_layer, found), "caption": _caption(found)}
        )

    @router.post("/comparison")
    async def comparison(request: Request, other: str) -> Response:
        sent = await _one_image(request, service)
        here = service.model
        async with _in_time(service):
            there = await page.others.model(other, here)
            (image,) = await service.read(sent.images, VIEW_SIZE)
            found = [await _answer(service, model, sent.images) for model in (here, there)]
        words = {
            choice.key: choice.words for choice in page.others.choices(here.generalist.lineage)
        }
        cards = [image_card(m, f, trust) for m, f in zip((here, there), found, strict=True)]
        return JSONResponse(
            {
                "html": render(
                    "comparison.html",
                    picture=await asyncio.to_thread(view, image),
                    size=_size(image),
                    columns=[
                        ("the present state", here, cards[0]),
                        (words[other], there, cards[1]),
                    ],
                    changes=changes(*cards),
                ),
                "document": {
                    "present": _document(here, image, [found[0]]),
                    "other": _document(there, image, [found[1]]),
                },
            }
        )

    return router


def _edits(page: Page) -> APIRouter:
    router = APIRouter(
        prefix=f"{PAGE}/edit", include_in_schema=False, dependencies=[Depends(page.signed_in)]
    )
    desk = page.desk

    def shown() -> Response:
        status = "" if desk.proposal is None else desk.proposal.status
        return JSONResponse({"html": render("proposal.html", desk=desk), "status": status})

    @router.post("/propose")
    async def propose(request: Request) -> Response:
        async with _told():
            asked = await read_edit(request, page.service.limits, page.settings.trust)
            desk.propose(asked.words, asked.change, asked.stamp)
        return shown()

    @router.post("/look")
    async def look() -> Response:
        return shown()

    @router.post("/make")
    async def make(proposal: str = "") -> Response:
        async with _told():
            await desk.make(proposal)
        return shown()

    @router.post("/drop")
    async def drop(proposal: str = "") -> Response:
        async with _told():
            desk.drop(proposal)
        return shown()

    return router


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What medlego refuses becomes the request's problem."""
    try:
        yield
    except UploadError as error:
        raise RequestError(422, [one.removeprefix("image 1: ") for one in error.problems]) from None
    except MedLegoError as error:
        raise RequestError(422, [str(error)]) from None


@asynccontextmanager
async def _in_time(service: Service) -> AsyncIterator[None]:
    try:
        async with _told(), asyncio.timeout(service.limits.answer_s):
            yield
    except TimeoutError:
        raise RequestError(503, ["answer: expected within the time limit, was not"]) from None


async def _one_image(request: Request, service: Service, more: tuple[str, ...] = ()) -> Asked:
    asked = await read_form(request, service.limits, more)
    if len(asked.images) != 1:
        raise RequestError(422, [f"images: expected one, got {len(asked.images)}"])
    return asked


async def _answer(service: Service, model: Model, images: Sequence[bytes]) -> Found:
    (image,) = await service.read(images, model.base.ref.image_size)
    asked = tasks_to_ask(model.running, None, every_task=False)
    return await asyncio.wrap_future(service.batcher.submit(model, image.pixels, asked))


def _document(model: Model, image: Image, found: list[Found]) -> dict[str, Any]:
    return predictions_document(model, [image.applied], found).model_dump(mode="json")


def _caption(found: Saliency) -> str:
    """Without the probability, which is the one before calibration."""
    return f"{found.task.name}: what speaks for {found.label}, by {found.method}; {scale(found)}."


def _size(image: Fitted) -> str:
    height, width = image.sides
    return f"{width} × {height} pixels"
