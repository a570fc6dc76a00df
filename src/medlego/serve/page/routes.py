"""The page's routes put together, and its three pages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import RedirectResponse

from medlego.serve.auth import PAGE, SIGN_IN
from medlego.serve.page.answers import answer_routes
from medlego.serve.page.comparisons import Others
from medlego.serve.page.edits import edit_routes
from medlego.serve.page.html import html
from medlego.serve.page.proposals import Desk
from medlego.serve.page.settings import PageSettings
from medlego.serve.page.sign_in import Entrance, entrance_routes, keep
from medlego.serve.page.views import brick_rows, entry_rows
from medlego.serve.service import Service


class Page:
    """What the pages share."""

    def __init__(self, service: Service, settings: PageSettings, token: str | None) -> None:
        self.service, self.settings = service, settings
        self.entrance = Entrance(token)
        self.desk = Desk(service, settings.gate)
        self.others = Others(settings.beside)

    def shown(self, request: Request, name: str, **told: Any) -> Response:
        """A whole page; whoever must sign in first is sent there."""
        session = self.entrance.session(request)
        fresh = None
        if session is None:
            if self.entrance.sessions.asks:
                return RedirectResponse(SIGN_IN, 303)
            session = fresh = self.entrance.sessions.sign_in()
        assert session is not None
        response = html(
            name,
            csrf=session.csrf,
            asks=self.entrance.sessions.asks,
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
    signed_in = page.entrance.signed_in
    app.include_router(entrance_routes(page.entrance))
    app.include_router(_pages(page))
    app.include_router(answer_routes(service, page.others, settings.trust, signed_in))
    if settings.edits:
        app.include_router(edit_routes(page.desk, service.limits, settings.trust, signed_in))


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
        names = {digest: brick.task.name for digest, brick in generalist.past.bricks.items()}
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
