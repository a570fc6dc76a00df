"""How a request is refused: RFC 9457 problem details, which never quote the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from medlego.serve.response_models import ProblemDocument

RETRY_AFTER_S = 2
MEDIA_TYPE = "application/problem+json"

_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"Connection": "close"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_S)},
}


class RequestError(HTTPException):
    """A request that is not answered, with a status and why."""

    def __init__(
        self, status: int, problems: Sequence[str], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, headers=headers)
        self.problems = list(problems)


def problem(
    status: int, problems: Sequence[str], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response."""
    phrase = HTTPStatus(status).phrase
    document = ProblemDocument(title=phrase, status=status, problems=list(problems))
    headers = {**(headers or {}), **_HEADERS.get(HTTPStatus(status), {})}
    return JSONResponse(document.model_dump(), status, headers, media_type=MEDIA_TYPE)
