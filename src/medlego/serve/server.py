"""The service on a socket, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
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
CLOSE_S = 5.0
"""After what a shutdown waits for: until the process ends, whatever its threads are at."""
FORCED_S = 1.0
"""The same after a second signal."""
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
    server = make_server(app, limits, proxies)
    with _stopped_is_done(server), server.ended_in_time():
        server.run(sockets=[listening])
        app.state.service.decoders.kill()  # a forced shutdown leaves out the application's own
        app.state.page.explaining.shutdown(cancel_futures=True)
    log("closed")


class StoppableServer(Server):
    """uvicorn's, whose process ends within a time after a signal: no thread can be ended alone."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # What to wait for next, None for nothing more; a signal's handler may put into this queue.
        self._limits: SimpleQueue[float | None] = SimpleQueue()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one stops, a second one, whichever it is, forces."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)
        patience = (self.config.timeout_graceful_shutdown or 0) + CLOSE_S
        self._limits.put(FORCED_S if self.force_exit else patience)

    @contextmanager
    def ended_in_time(self) -> Iterator[None]:
        """Where the block is not left in time after a signal, the process ends with code 1."""
        threading.Thread(target=self._watch, name="medlego-stopping", daemon=True).start()
        try:
            yield
        finally:
            self._limits.put(None)

    def _watch(self) -> None:
        limit_s = self._limits.get()
        while limit_s is not None:
            try:
                limit_s = self._limits.get(timeout=limit_s)
            except Empty:
                words = ("cut short", logging.ERROR)  # whoever reads the log may have stopped, too
                speaker = threading.Thread(target=log, args=words, daemon=True)
                speaker.start()
                speaker.join(FORCED_S)
                self.config.app.state.service.decoders.kill()  # type: ignore[union-attr]
                os._exit(1)


def make_server(
    app: FastAPI, limits: ServiceLimits, proxies: Sequence[str] = ()
) -> StoppableServer:
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
    return StoppableServer(config)


@contextmanager
def _stopped_is_done(server: Server) -> Iterator[None]:
    """uvicorn raises a signal again after its shutdown; being stopped is no failure."""

    def stop(*_: object) -> None:  # one before uvicorn listens counts, too
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in _STOPS}
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
