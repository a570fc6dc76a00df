"""What medlego refuses while it answers the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from medlego.errors import MedLegoError
from medlego.serve.problem_json import RequestError
from medlego.serve.service import UploadError


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """Let an error become the request's problem.

    Raises:
        RequestError: in place of any `MedLegoError`.
    """
    try:
        yield
    except UploadError as error:
        raise RequestError(422, [one.removeprefix("image 1: ") for one in error.problems]) from None
    except MedLegoError as error:
        raise RequestError(422, [str(error)]) from None
