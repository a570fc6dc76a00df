"""The page for people: images answered and explained, states compared, bricks changed."""

from medlego.serve.page.routes import add_page
from medlego.serve.page.settings import PageGate, PageSettings

__all__ = ["PageGate", "PageSettings", "add_page"]
