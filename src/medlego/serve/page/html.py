"""Templates to responses that fetch nothing from elsewhere and run no script but the page's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from medlego import __version__
from medlego.serve.auth import PAGE
from medlego.serve.page.views import percent

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def html(name: str, status: int = 200, **told: Any) -> HTMLResponse:
    """A template as a whole page."""
    return HTMLResponse(render(name, **told), status, HEADERS)


def render(name: str, **told: Any) -> str:
    """A template as text."""
    return _environment().get_template(name).render(told)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("medlego.serve.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["percent"] = percent
    made.globals.update(PAGE=PAGE, version=__version__)
    return made
