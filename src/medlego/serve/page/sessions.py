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
from medlego.serve.token_check import TokenCheck

CSRF_HEADER = "x-csrf-token"
LASTS_S = 8 * 3600
MAX_SESSIONS = 1024
"""Where there would be more, one that nothing came back from ends first, then the longest idle."""


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

    def __init__(
        self, check: TokenCheck | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without a check of a token everybody is let in; `clock` returns seconds."""
        self._check, self._clock = check, clock
        self._unused: dict[str, Session] = {}
        self._used: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def locked(self) -> bool:
        """Whether one must sign in."""
        return self._check is not None

    def refusal(self, token: str, request: Request) -> RequestError | None:
        """Why nobody is signed in with a token, or None where it is right."""
        return None if self._check is None else self._check.refusal(token, request.scope)

    def start(self) -> Session:
        """A new session, for whoever may have one."""
        now = self._clock()
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + LASTS_S)
        with self._lock:  # pages are made in many threads
            for sessions in (self._unused, self._used):
                for key in [key for key, s in sessions.items() if s.until <= now]:
                    del sessions[key]
            while len(self._unused) + len(self._used) >= MAX_SESSIONS:
                sessions = self._unused or self._used
                del sessions[next(iter(sessions))]
            self._unused[session.key] = session
        return session

    def find(self, key: str | None) -> Session | None:
        """The session of a cookie, unless it is over."""
        with self._lock:
            session = self._unused.pop(key or "", None) or self._used.pop(key or "", None)
            if session is None or session.until <= self._clock():
                return None
            self._used[session.key] = session  # the last one now
        return session

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
            self._unused.pop(session.key, None)
            self._used.pop(session.key, None)


def cookie_name(request: Request) -> str:
    """A name for each port, since browsers send a cookie to every port of a host."""
    _, port = request.scope.get("server") or ("", None)
    return f"medlego-session-{port or 0}"
