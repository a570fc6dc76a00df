"""Signing in and out, and ways to the page."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from medlego.serve.auth import PAGE, SIGN_IN
from medlego.serve.page.html import page_response
from medlego.serve.page.page import PageOfApp
from medlego.serve.page.sessions import cookie_name

WRONG = {
    401: "Wrong token. Check that it is complete, or ask for a new one.",
    429: "Too many wrong tokens. Wait half a minute, then try again.",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.get(PAGE)
def root() -> Response:
    """To the first page."""
    return RedirectResponse(f"{PAGE}/", 303)


@router.get(SIGN_IN)
def form() -> Response:
    """The form that asks for the token."""
    return page_response("sign_in.html", wrong="")


@router.post(SIGN_IN)
async def sign_in(request: Request, page: PageOfApp) -> Response:
    """Start a session."""
    refusal = page.sessions.refusal(await _field(request, "token"), request)
    if refusal is not None:
        status = refusal.status_code
        again = page_response("sign_in.html", status, wrong=WRONG[status])
        again.headers.update(refusal.headers or {})
        return again
    session = page.sessions.start()
    response = RedirectResponse(f"{PAGE}/", 303)
    session.set_cookie(response, request)
    return response


@router.post(f"{PAGE}/sign-out")
async def sign_out(request: Request, page: PageOfApp) -> Response:
    """End the session."""
    session = page.sessions.of(request)
    if session is not None:
        if not session.owns(await _field(request, "csrf")):
            return RedirectResponse(f"{PAGE}/", 303)  # from a page of an older session
        page.sessions.end(session)
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(cookie_name(request), path=PAGE)
    return response


async def _field(request: Request, name: str) -> str:
    """Of a form that a browser sends without any script; empty where it is missing."""
    content = (await request.body()).decode("latin-1")
    return parse_qs(content).get(name, [""])[0].strip()
