"""The page's routes put together, and its three pages."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.staticfiles import StaticFiles

from medlego.generalist import state
from medlego.serve.auth import PAGE
from medlego.serve.page import answers, edits, sign_in
from medlego.serve.page.page import Page, PageOfApp, PageSettings
from medlego.serve.page.views import brick_views, changed_tasks
from medlego.serve.service import Service
from medlego.serve.token_check import TokenCheck

router = APIRouter(prefix=PAGE, include_in_schema=False)


def add_page(
    app: FastAPI, service: Service, settings: PageSettings, check: TokenCheck | None = None
) -> None:
    """Put the page below `PAGE`; `/` leads to it.

    Args:
        app: turns `RequestError` and `MedLegoError` into responses.
        service: answers images.
        settings: how the page is run.
        check: of the token that people sign in with; None lets everybody in.
    """
    app.state.page = Page(service, settings, check)
    app.mount(f"{PAGE}/static", StaticFiles(packages=[("medlego.serve.page", "static")]))
    for part in (sign_in, answers, edits) if settings.edits else (sign_in, answers):
        app.include_router(part.router)
    app.include_router(router)


@router.get("/")
def images(request: Request, page: PageOfApp) -> Response:
    """Answer images."""
    return page.respond(request, "images.html", here="images")


@router.get("/compare")
def compare(request: Request, page: PageOfApp) -> Response:
    """Compare two generalists."""
    choices = page.comparisons.choices(page.service.model.generalist.lineage)
    return page.respond(request, "compare.html", here="compare", choices=choices)


@router.get("/bricks")
def bricks(request: Request, page: PageOfApp) -> Response:
    """Bricks, edits and the lineage."""
    model, settings, proposals = page.service.model, page.settings, page.proposals
    generalist = model.generalist
    names = {digest: brick.task.name for digest, brick in generalist.past.bricks.items()}
    names |= {brick.digest: brick.task.name for brick in generalist.bricks}
    return page.respond(
        request,
        "bricks.html",
        here="bricks",
        bricks=brick_views(generalist.bricks, model, settings.trust),
        coefficients={item.digest: item.coefficient for item in generalist.recipe.bricks},
        sites={c.task.name: len(c.bricks) for c in generalist.capabilities},
        entries=[(entry, changed_tasks(entry, names)) for entry in generalist.lineage],
        present=state(generalist.lineage),
        settings=settings,
        proposal=proposals.current,
        progress=proposals.progress,
    )
