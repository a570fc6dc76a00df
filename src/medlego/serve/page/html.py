"""Templates as pages that fetch nothing from elsewhere and run only the page's own scripts."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from medlego import __version__
from medlego.prediction import OOD_LIMIT
from medlego.serve.auth import PAGE
from medlego.serve.page.views import CALIBRATION, percent, sentence

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def page_response(template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A template as a whole page."""
    return HTMLResponse(render(template, **context), status, HEADERS)


def render(template: str, **context: Any) -> str:
    """A template as text."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medlego.serve.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(percent=percent, sentence=sentence)
    environment.globals.update(
        PAGE=PAGE, version=__version__, CALIBRATION=CALIBRATION, OOD_LIMIT=OOD_LIMIT
    )
    return environment
