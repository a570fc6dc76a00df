"""Bricks changed: an edit proposed, looked at, and made or dropped."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse

from medlego.generalist import Trust
from medlego.serve.auth import PAGE
from medlego.serve.limits import ServiceLimits
from medlego.serve.page.brick_upload import read_edit
from medlego.serve.page.errors import told
from medlego.serve.page.html import render
from medlego.serve.page.proposals import Desk


def edit_routes(
    desk: Desk, limits: ServiceLimits, trust: Trust | None, guard: Callable[..., object]
) -> APIRouter:
    """Routes that each answer what the desk holds then; `guard` lets a request in, or raises."""
    router = APIRouter(
        prefix=f"{PAGE}/edit", include_in_schema=False, dependencies=[Depends(guard)]
    )

    def shown() -> Response:
        status = "" if desk.proposal is None else desk.proposal.status
        return JSONResponse({"html": render("proposal.html", desk=desk), "status": status})

    @router.post("/propose")
    async def propose(request: Request) -> Response:
        async with told():
            asked = await read_edit(request, limits, trust)
            desk.propose(asked.words, asked.change, asked.stamp)
        return shown()

    @router.post("/look")
    async def look() -> Response:
        return shown()

    @router.post("/make")
    async def make(proposal: str = "") -> Response:
        async with told():
            await desk.make(proposal)
        return shown()

    @router.post("/drop")
    async def drop(proposal: str = "") -> Response:
        async with told():
            desk.drop(proposal)
        return shown()

    return router
