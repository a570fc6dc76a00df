"""Who may ask: by token, or on this machine alone and from no other site's page."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from medlego.errors import SettingsError
from medlego.serve.access import is_loopback, read_secret, same_secret
from medlego.serve.body_limits import drain
from medlego.serve.problem_json import problem

PUBLIC = frozenset({"/health/live", "/health/ready"})
"""Paths that need no token."""

PAGE = "/page"
"""Below it people sign in with the token, and every route asks for that by itself."""

SIGN_IN = f"{PAGE}/sign-in"
"""The one path where a body is read before anybody has signed in."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MIN_TOKEN, MAX_TOKEN = 16, 512


class AccessGuard:
    """Middleware that refuses the unauthorised before anything of their request is read."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        """Without a token only this machine's own names are answered to, against DNS rebinding."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `AccessGuard`."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, why = refusal
            await drain(scope, receive)
            await problem(status, [why])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_name(host)):
            return 421, "host: expected a loopback name or address, got another; start with a token"
        origin = headers.get("origin")
        same_site = origin is None or origin.partition("://")[2] == host
        if scope["method"] not in SAFE and not same_site:
            return 403, "origin: expected this service's own page, got another site's"
        if self._token is None or _is_public(scope["path"]):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if same_secret(token.strip(" \t"), self._token) and scheme.lower() == "bearer":
            return None
        return 401, "authorization: expected Bearer and the service's token, got another or none"


def _is_public(path: str) -> bool:
    return path in PUBLIC or path in ("/", PAGE) or path.startswith(f"{PAGE}/")


def read_token(path: Path) -> str:
    """The token in a file, on one line.

    Raises:
        SettingsError: no such file, or no token of 16 to 512 letters, digits and signs.
    """
    rule = f"a token of {MIN_TOKEN} to {MAX_TOKEN} ASCII characters"
    token = read_secret(path, rule)
    if not (MIN_TOKEN <= len(token) <= MAX_TOKEN and token.isascii()):
        raise SettingsError(
            f"{path}: expected {rule}, got something else; openssl rand -hex 32 makes one"
        )
    return token


def _name(host: str) -> str:
    """The name in a Host header, without its port; empty where it is none."""
    if set(host) & set("/?#@\\ "):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
