"""Who may ask: by token, or on this machine alone and from no other site's page."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from medlego.serve.access import is_loopback
from medlego.serve.body_limits import drain
from medlego.serve.problem_json import RequestError, problem
from medlego.serve.token_check import NO_TOKEN, TokenCheck

PUBLIC = frozenset({"/health/live", "/health/ready"})
"""Paths that need no token."""

PAGE = "/page"
"""Below it people sign in with the token, and every route asks for that by itself."""

SIGN_IN = f"{PAGE}/sign-in"
"""The one path where a body is read before anybody has signed in."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessGuard:
    """Middleware that refuses the unauthorised before anything of their request is read."""

    def __init__(self, app: ASGIApp, *, check: TokenCheck | None) -> None:
        """Without a token only this machine's own names are answered to, against DNS rebinding."""
        self._app, self._check = app, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `AccessGuard`."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await drain(scope, receive)
            answer = problem(refusal.status_code, refusal.problems, refusal.headers)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._check is None and not is_loopback(_name(host)):
            why = "host: expected a loopback name or address, got another; start with a token"
            return RequestError(421, [why])
        origin = headers.get("origin")
        same_site = origin is None or origin.partition("://")[2] == host
        if scope["method"] not in SAFE and not same_site:
            why = "origin: expected this service's own page, got another site's"
            return RequestError(403, [why])
        if self._check is None or _is_public(scope["path"]):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        offered = token.strip(" \t") if scheme.lower() == "bearer" else ""
        return self._check.refusal(offered, scope) if offered else RequestError(401, [NO_TOKEN])


def _is_public(path: str) -> bool:
    return path in PUBLIC or path in ("/", PAGE) or path.startswith(f"{PAGE}/")


def _name(host: str) -> str:
    """The name in a Host header, without its port; empty where it is none."""
    if set(host) & set("/?#@\\ "):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
