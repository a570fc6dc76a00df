"""How a request is refused: RFC 9457 problem details, never with what came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse

from medlego.serve.documents import ProblemDocument

RETRY_AFTER_S = 2


class RequestError(Exception):
    """A request that is not answered, with a status and why."""

    def __init__(self, status: int, problems: Sequence[str]) -> None:
        super().__init__(status)
        self.status = status
        self.problems = list(problems)


def problem(
    status: int, problems: Sequence[str], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response; a busy service says when to come back."""
    told = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        told["Retry-After"] = str(RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        told["WWW-Authenticate"] = "Bearer"
    document = ProblemDocument(
        title=HTTPStatus(status).phrase, status=status, problems=list(problems)
    )
    return JSONResponse(document.model_dump(), status, told, media_type="application/problem+json")
