"""Who is signed in: a cookie that scripts cannot read, and a word that other sites do not know."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

CSRF_HEADER = "x-csrf-token"
LASTS_S = 8 * 3600
MAX_SESSIONS = 1024
"""The oldest one ends where there are more."""


def cookie_name(port: int | None) -> str:
    """Of a service's cookie: browsers send one to every port of a host."""
    return f"medlego-session-{port or 0}"


@dataclass(frozen=True)
class Session:
    """One browser's; `csrf` goes into the page and comes back with whatever changes something."""

    key: str
    csrf: str
    until: float

    def vouches(self, word: str) -> bool:
        """Whether a request with this word came from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), word.encode())


class Sessions:
    """Held in memory, so that a restart signs everybody out; to be used from any thread."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a token everybody is let in; `clock` tells seconds."""
        self._wanted = None if token is None else _hashed(token)
        self._clock = clock
        self._held: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def asks(self) -> bool:
        """Whether one must sign in."""
        return self._wanted is not None

    def sign_in(self, token: str = "") -> Session | None:
        """A new session, or None for a wrong token."""
        if self._wanted is not None and not hmac.compare_digest(_hashed(token), self._wanted):
            return None
        now = self._clock()
        made = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + LASTS_S)
        with self._lock:  # pages are made in many threads
            self._held = {key: held for key, held in self._held.items() if held.until > now}
            while len(self._held) >= MAX_SESSIONS:
                del self._held[next(iter(self._held))]
            self._held[made.key] = made
        return made

    def find(self, key: str | None) -> Session | None:
        """The session of a cookie, unless it is over."""
        found = self._held.get(key or "")
        return found if found is not None and found.until > self._clock() else None

    def end(self, session: Session) -> None:
        """Sign out."""
        with self._lock:
            self._held.pop(session.key, None)


def _hashed(token: str) -> bytes:
    """Of one length, so that a comparison's time tells nothing."""
    return hashlib.sha256(token.encode()).digest()
