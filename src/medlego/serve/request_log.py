"""Every request counted, timed and logged; faults are logged without their messages."""

from __future__ import annotations

import secrets
import time
from http import HTTPMethod

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medlego.serve.logs import log, log_failure
from medlego.serve.metrics import ServiceMetrics
from medlego.serve.problem_json import problem

GONE = 499
"""Status, in logs and counts alone, of a client that left before its answer."""

_METHODS = frozenset(HTTPMethod)
"""Others are words of the client's own."""


class RequestLog:
    """Middleware, the outermost one."""

    def __init__(self, app: ASGIApp, *, metrics: ServiceMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `RequestLog`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, name, status = time.perf_counter(), secrets.token_hex(8), 0

        async def send_labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = name
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_labelled)
        except ClientDisconnect:
            status = GONE
        except Exception as error:
            log_failure("fault", error, request=name)
            if not status:
                refusal = problem(500, [f"service: failed; see request {name} in its log"])
                await refusal(scope, receive, send_labelled)
        seconds = time.perf_counter() - start
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.request(route, status, seconds)
        log(
            "request",
            request=name,
            method=scope["method"] if scope["method"] in _METHODS else "?",
            route=route,
            status=status,
            seconds=round(seconds, 4),
        )
