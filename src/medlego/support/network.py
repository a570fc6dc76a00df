"""Whether a connection can be made at all: asked once and soon, before anything retries."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_S = 1.5
"""How long one connection may take: time for one lost packet, and no more."""

_HERE = ("127.0.0.1", "::1", "localhost")
_PORTS = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "sftp": 22}


def unreachable(url: str, timeout_s: float = CONNECT_S) -> str | None:
    """Why nothing can be reached at an address, or at the proxy before it; None if it can.

    Libraries try again for half a minute where there is no network. This makes one connection and
    closes it. Of an address of another kind than http, ftp or ssh nothing is known.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host:
        return None
    proxy = getproxies().get(parts.scheme)
    if proxy and host not in _HERE and not proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    where = parts.hostname or host, parts.port or _PORTS.get(parts.scheme, 80)
    problems = [f"no answer from {where[0]}"]

    def connect() -> None:
        try:
            socket.create_connection(where, timeout_s).close()
            problems.clear()
        except OSError as error:
            problems[:] = [f"no connection to {where[0]} ({error.strerror or error})"]

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout_s)  # a name server that does not answer takes longer than any timeout
    return next(iter(problems), None)
