"""Who is signed in: a cookie that scripts cannot read, and a token that other sites do not know.

Starlette's own sessions live in the cookie, where signing out cannot end them.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from medlego.serve.access import same_secret
from medlego.serve.auth import PAGE
from medlego.serve.problem_json import RequestError

CSRF_HEADER = "x-csrf-token"
LASTS_S = 8 * 3600
MAX_SESSIONS = 1024
"""The oldest one ends where there are more."""


@dataclass(frozen=True)
class Session:
    """One browser's; `csrf` goes into the page and comes back with whatever changes something."""

    key: str
    csrf: str
    until: float

    def owns(self, csrf: str) -> bool:
        """Whether a request with this token came from a page of this session."""
        return same_secret(csrf, self.csrf)

    def set_cookie(self, response: Response, request: Request) -> None:
        """Set the session's cookie, for this site alone and out of reach of scripts."""
        response.set_cookie(
            cookie_name(request),
            self.key,
            max_age=LASTS_S,
            path=PAGE,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


class Sessions:
    """In memory, so that a restart signs everybody out; to be used from any thread."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a token everybody is let in; `clock` returns seconds."""
        self._token, self._clock = token, clock
        self._by_key: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def locked(self) -> bool:
        """Whether one must sign in."""
        return self._token is not None

    def sign_in(self, token: str = "") -> Session | None:
        """A new session, or None for a wrong token."""
        if self._token is not None and not same_secret(token, self._token):
            return None
        now = self._clock()
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + LASTS_S)
        with self._lock:  # pages are made in many threads
            self._by_key = {key: s for key, s in self._by_key.items() if s.until > now}
            while len(self._by_key) >= MAX_SESSIONS:
                del self._by_key[next(iter(self._by_key))]
            self._by_key[session.key] = session
        return session

    def find(self, key: str | None) -> Session | None:
        """The session of a cookie, unless it is over."""
        session = self._by_key.get(key or "")
        return session if session is not None and session.until > self._clock() else None

    def of(self, request: Request) -> Session | None:
        """The browser's session, if it is signed in."""
        return self.find(request.cookies.get(cookie_name(request)))

    def require(self, request: Request) -> None:
        """Refuse a request that is not signed in, or not sent by the page.

        Raises:
            RequestError: such a request.
        """
        session = self.of(request)
        if session is None:
            raise RequestError(401, ["session: expected one that is signed in, got none; sign in"])
        if not session.owns(request.headers.get(CSRF_HEADER, "")):
            raise RequestError(403, ["request: expected one from this page, got another; reload"])

    def end(self, session: Session) -> None:
        """Sign out."""
        with self._lock:
            self._by_key.pop(session.key, None)


def cookie_name(request: Request) -> str:
    """A name for each port, since browsers send a cookie to every port of a host."""
    _, port = request.scope.get("server") or ("", None)
    return f"medlego-session-{port or 0}"
