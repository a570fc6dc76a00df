"""Values as HTML for notebooks: escaped, and without colours, so that any theme shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(caption: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """A small table; the first cell of a row names it.

    Args:
        caption: what it shows.
        rows: cells as text.
        header: of the columns, none by default.
    """
    head = "".join(f"<th scope='col'>{escape(str(cell))}</th>" for cell in header)
    body = "".join(
        f"<tr><th scope='row'>{escape(str(first))}</th>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f"<table style='text-align: left'><caption>{escape(caption)}</caption>"
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table>"
    )
