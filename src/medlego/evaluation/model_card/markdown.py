"""The few shapes that a card is made of: fields with or without a value, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medlego.evaluation.model_card.facts import NOT_STATED

Fields = tuple[tuple[str, str | None], ...]
"""Pairs of a name and Markdown; None is a value that nobody stated."""


@dataclass(frozen=True)
class CardTable:
    """Rows of plain text under heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading with fields, then tables, each under a line of its own."""

    title: str
    fields: Fields = ()
    tables: tuple[tuple[str, CardTable], ...] = ()


def plain(text: object) -> str:
    """Text out of a file as Markdown that shows it as it is: no tag, link or column of its own."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escaped)


def listed(parts: Iterable[object]) -> str | None:
    """Texts separated by commas; None where there is none."""
    return ", ".join(plain(part) for part in parts) or None


def rendered(sections: Sequence[Section]) -> str:
    """Sections as Markdown."""
    return "\n\n".join(block for section in sections for block in _blocks(section)) + "\n"


def _blocks(section: Section) -> list[str]:
    blocks = [f"## {section.title}"]
    if section.fields:
        blocks.append("\n".join(_field(name, value) for name, value in section.fields))
    for caption, table in section.tables:
        blocks += [caption, _table(table)]
    return blocks


def _field(name: str, value: str | None) -> str:
    """One item of a list; further lines are indented, so that they stay in it."""
    text = (value or NOT_STATED).replace("\n", "\n  ")
    return f"- **{name}:** {text}"


def _table(table: CardTable) -> str:
    lines = [table.heads, tuple("---" for _ in table.heads), *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
