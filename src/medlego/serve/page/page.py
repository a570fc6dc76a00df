"""What the page's routes share."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from starlette.responses import RedirectResponse

from medlego.generalist import Trust
from medlego.serve.auth import SIGN_IN
from medlego.serve.page.comparisons import Comparisons
from medlego.serve.page.html import page_response
from medlego.serve.page.proposals import PageGate, Proposals
from medlego.serve.page.sessions import Sessions
from medlego.serve.service import Service
from medlego.serve.token_check import TokenCheck
from medlego.support import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class PageSettings(ShortRepr):
    """How the page is run.

    `edits` lets people change bricks. `trust` names the keys that signatures are checked by; with
    it only bricks that it accepts can be added. `beside` are directories of generalists to compare
    with, by a name.
    """

    edits: bool = False
    gate: PageGate | None = None
    trust: Trust | None = None
    beside: Mapping[str, Path] = field(default_factory=dict)


class Page:
    """One app's page."""

    def __init__(self, service: Service, settings: PageSettings, check: TokenCheck | None) -> None:
        self.service, self.settings = service, settings
        self.sessions = Sessions(check)
        self.proposals = Proposals(service, settings.gate)
        self.comparisons = Comparisons(settings.beside)
        # One at a time: a thread that is no longer waited for still computes.
        self.explaining = ThreadPoolExecutor(1, "medlego-explaining")

    def respond(self, request: Request, template: str, **context: Any) -> Response:
        """A whole page; whoever must sign in first is sent there."""
        session, fresh = self.sessions.of(request), None
        if session is None and self.sessions.locked:
            return RedirectResponse(SIGN_IN, 303)
        if session is None:
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return page_response("enter.html")  # another site's page may send any number
            session = fresh = self.sessions.start()
        response = page_response(
            template,
            csrf=session.csrf,
            locked=self.sessions.locked,
            problem=self.service.reloader.problem,
            model=self.service.model,
            **context,
        )
        if fresh is not None:
            fresh.set_cookie(response, request)
        return response


async def _page(request: Request) -> Any:
    return request.app.state.page


PageOfApp = Annotated[Page, Depends(_page)]


async def require_session(request: Request, page: PageOfApp) -> None:
    """For routes that change or cost something: before their body is read."""
    page.sessions.require(request)
