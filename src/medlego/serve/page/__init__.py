"""The page for people: images answered and explained, states compared, bricks changed."""

from medlego.serve.page.routes import add_page
from medlego.serve.page.settings import Gate, PageSettings

__all__ = ["Gate", "PageSettings", "add_page"]
