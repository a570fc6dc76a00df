"""How much is taken in at once: requests, bytes, and time for a body to arrive."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medlego.serve.limits import ServiceLimits
from medlego.serve.problem_json import RequestError, problem

DRAIN_S = 3.0
"""For the rest of a refused body, read and dropped so that its sender gets to read the refusal."""

OPEN_LIMITS = {"requests": 32, "request_bytes": 4096, "held_bytes": 32 * 4096}
"""Limits of what anybody may send before signing in: a token's form."""


class BodyLimits:
    """Middleware that counts requests with a body and bounds them."""

    def __init__(
        self, app: ASGIApp, *, limits: ServiceLimits, open_path: str | None = None
    ) -> None:
        """Requests to `open_path`, which needs no token, take only a few places of their own."""
        self._app, self.limits, self._open_path = app, limits, open_path
        few = limits.model_copy(update=OPEN_LIMITS)
        self._open = None if open_path is None else BodyLimits(app, limits=few)
        self.requests = 0
        self.reserved = 0
        """Bytes of all requests under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `BodyLimits`."""
        if self._open is not None and scope.get("path") == self._open_path:
            await self._open(scope, receive, send)
            return
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        limits, declared = self.limits, _declared(scope)
        refusal = None
        if declared > limits.request_bytes:
            refusal = problem(413, [_too_large(limits)])
        elif self.requests >= limits.requests or self.reserved + declared > limits.held_bytes:
            refusal = problem(503, ["service: expected a free place, got none; try again later"])
        if refusal is not None:
            await drain(scope, receive)
            await refusal(scope, receive, send)
            return
        body = _Body(self, receive, declared)
        self.requests += 1
        self.reserved += declared
        try:
            await self._app(scope, body.receive, send)
        finally:
            self.requests -= 1
            self.reserved -= body.reserved


class _Body:
    """A request's body as it comes in; bytes beyond the declared ones are reserved on the way."""

    def __init__(self, everybody: BodyLimits, receive: Receive, declared: int) -> None:
        self._everybody, self._limits, self._receive = everybody, everybody.limits, receive
        self._start = asyncio.get_running_loop().time()
        self._received = 0
        self._whole = False
        self.reserved = declared

    async def receive(self) -> Message:
        """The next part.

        Raises:
            RequestError: too slow, too large, or no room.
        """
        if self._whole:  # what follows is only whether the client is still there
            return await self._receive()
        limits = self._limits
        until = self._start + limits.upload_s + self._received / limits.upload_bytes_s
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError:
            raise RequestError(
                408, ["body: expected all of it within the time limit, got a part"]
            ) from None
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        more = max(0, self._received - self.reserved)
        if self._received > limits.request_bytes:
            await self._refuse(413, _too_large(limits))
        if self._everybody.reserved + more > limits.held_bytes:
            await self._refuse(503, "service: expected room for the body, got none")
        self.reserved += more
        self._everybody.reserved += more
        return message

    async def _refuse(self, status: int, why: str) -> None:
        if not self._whole:
            await _drop(self._receive)
        raise RequestError(status, [why])


async def drain(scope: Scope, receive: Receive) -> None:
    """Read and drop a refused request's body for a moment; one that asked first is not sent."""
    if _has_body(scope) and "expect" not in Headers(scope=scope):
        await _drop(receive)


async def _drop(receive: Receive) -> None:
    more = True
    try:
        async with asyncio.timeout(DRAIN_S):
            while more:
                more = (await receive()).get("more_body", False)
    except TimeoutError:
        return


def _has_body(scope: Scope) -> bool:
    return "transfer-encoding" in Headers(scope=scope) or _declared(scope) > 0


def _declared(scope: Scope) -> int:
    """Bytes of the body by its header; 0 without one, or where it is no number."""
    text = Headers(scope=scope).get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _too_large(limits: ServiceLimits) -> str:
    return f"body: expected at most {limits.request_bytes:,} bytes, got more"
