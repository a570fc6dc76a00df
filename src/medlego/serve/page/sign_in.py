"""Who comes in: sessions by cookie, signing in and out, and what needs no session."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from medlego.serve.auth import PAGE, SIGN_IN
from medlego.serve.page.html import html
from medlego.serve.page.sessions import CSRF_HEADER, LASTS_S, Session, Sessions, cookie_name
from medlego.serve.problem_json import RequestError

_STATIC = {
    "page.css": "text/css",
    "shared.js": "text/javascript",
    "images.js": "text/javascript",
    "compare.js": "text/javascript",
    "bricks.js": "text/javascript",
}


class Entrance:
    """Finds the session of a request."""

    def __init__(self, token: str | None) -> None:
        """Without a token everybody is let in."""
        self.sessions = Sessions(token)

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


def entrance_routes(entrance: Entrance) -> APIRouter:
    """Signing in and out, the files of the pages, and ways to them."""
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
        session = entrance.sessions.sign_in(await _field(request, "token"))
        if session is None:
            return html("sign_in.html", 401, wrong=True)
        response = RedirectResponse(f"{PAGE}/", 303)
        keep(response, session, request)
        return response

    @router.post(f"{PAGE}/sign-out")
    async def sign_out(request: Request) -> Response:
        session = entrance.session(request)
        if session is not None:
            if not session.vouches(await _field(request, "csrf")):
                return RedirectResponse(f"{PAGE}/", 303)  # asked by a page of an older session
            entrance.sessions.end(session)
        response = RedirectResponse(SIGN_IN, 303)
        response.delete_cookie(_cookie(request), path=PAGE)
        return response

    return router


async def _field(request: Request, name: str) -> str:
    """Of a form that a browser sends without any script; empty where it is missing."""
    content = (await request.body()).decode("latin-1")
    return parse_qs(content).get(name, [""])[0].strip()
