"""The service on a socket, until it is stopped."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from medlego.errors import SettingsError
from medlego.serve.access import is_loopback
from medlego.serve.limits import ServiceLimits
from medlego.serve.logs import log

MAX_HEAD_BYTES = 16 << 10
KEEP_ALIVE_S = 5
_STOPS = (signal.SIGINT, signal.SIGTERM)


def check_host(host: str, token: str | None) -> None:
    """Refuse to be reached from elsewhere without a token.

    Raises:
        SettingsError: another host than loopback, and no token.
    """
    if token is None and not is_loopback(host):
        raise SettingsError(
            f"--host: expected 127.0.0.1 or ::1 where there is no token, got {host!r}; "
            "pass --token-file"
        )


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        SettingsError: no such host, or a port that is taken or not allowed.
    """
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = places[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port}: expected a host and a free port to listen at, got "
            f"{error.strerror!r}; choose others with --host and --port"
        ) from None


def serve_app(
    app: FastAPI, listening: socket.socket, limits: ServiceLimits, proxies: Sequence[str] = ()
) -> None:
    """Answer until SIGINT or SIGTERM, then finish what is under way; a second one ends at once.

    Args:
        app: of `make_app`.
        listening: of `bound`.
        limits: the service's.
        proxies: addresses or networks of proxies, whose word for whom they pass on is taken.
    """
    host, port = listening.getsockname()[:2]
    log("listening", host=host, port=port)
    with _stopped_is_done():
        make_server(app, limits, proxies).run(sockets=[listening])
    log("closed")


def make_server(app: FastAPI, limits: ServiceLimits, proxies: Sequence[str] = ()) -> Server:
    """uvicorn with the limits that only it can enforce."""
    config = Config(
        app,
        http=_protocol(limits.header_s, limits.upload_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(limits.answer_s),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    return Server(config)


@contextmanager
def _stopped_is_done() -> Iterator[None]:
    """uvicorn raises a signal again after its shutdown; being stopped is no failure."""
    before = {number: signal.signal(number, lambda *_: None) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _protocol(header_s: float, unread_s: float) -> type[H11Protocol]:
    """HTTP/1.1 that closes connections whose headers do not arrive, or whose answer is not read."""

    class Impatient(H11Protocol):
        _late: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(unread_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._unread is not None:
                self._unread.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._late, self._unread):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._late is not None:
                self._late.cancel()
            self._late = self.loop.call_later(header_s, self._close_idle)

        def _close_idle(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()
            if self.transport.is_closing():  # it waits for the client to read the rest
                self._late = self.loop.call_later(unread_s, self.transport.abort)

    return Impatient
