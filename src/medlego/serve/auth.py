"""Who may ask: by token, or on this machine alone and from no other site's page."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from medlego.errors import SettingsError
from medlego.serve.body_limits import drain
from medlego.serve.problem_json import problem
from medlego.support import read_expected

PUBLIC = frozenset({"/health/live", "/health/ready"})
"""Paths that need no token."""

PAGE = "/page"
"""Below it people sign in with the token, and every route asks for that by itself."""

SIGN_IN = f"{PAGE}/sign-in"
"""The one path where a stranger's body is read."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MIN_TOKEN, MAX_TOKEN = 16, 512


class AccessGuard:
    """Middleware that refuses strangers before anything of their request is read."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        """Without a token only this machine's own names are answered to, against DNS rebinding."""
        self._app = app
        self._wanted = None if token is None else _hashed(token.encode())

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
        if self._wanted is None and not is_loopback(_name(host)):
            return 421, "host: expected this machine's own name, got another; start with a token"
        origin = headers.get("origin")
        if scope["method"] not in SAFE and origin is not None and _place(origin) != host:
            return 403, "origin: expected this service's own page, got another site's"
        if self._wanted is None or _is_public(scope["path"]):
            return None
        given = headers.get("authorization", "").encode("latin-1")
        scheme, _, token = given.partition(b" ")
        right = hmac.compare_digest(_hashed(token.strip()), self._wanted)
        if scheme.lower() == b"bearer" and right:
            return None
        return 401, "authorization: expected Bearer and the service's token, got another or none"


def _is_public(path: str) -> bool:
    return path in PUBLIC or path in ("/", PAGE) or path.startswith(f"{PAGE}/")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, reached from nowhere else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """The token that a file holds, on one line.

    Raises:
        SettingsError: no such file, or no token of 16 to 512 letters, digits and signs.
    """
    content = read_expected(path, 4096, SettingsError, "a token file")
    token = content.decode("latin-1").strip()
    if not (MIN_TOKEN <= len(token) <= MAX_TOKEN and token.isascii() and token.isprintable()):
        raise SettingsError(
            f"{path}: expected a token of {MIN_TOKEN} to {MAX_TOKEN} ASCII characters on one line, "
            "got something else; openssl rand -hex 32 makes one"
        )
    return token


def _hashed(token: bytes) -> bytes:
    """Of one length, so that a comparison's time tells nothing."""
    return hashlib.sha256(token).digest()


def _name(host: str) -> str:
    """Of a Host header, without its port; empty where it is none."""
    if set(host) & set("/?#@\\ "):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    return origin.partition("://")[2]
