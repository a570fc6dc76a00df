"""The rooms of the package, what each imports from which, and the picture of it.

python -m tools.rooms      # writes docs/images/rooms.svg
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "medlego"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

ROOMS = (
    "errors",
    "support",
    "images",
    "data",
    "metrics",
    "base",
    "bricks",
    "merge",
    "generalist",
    "prediction",
    "evaluation",
    "train",
    "exchange",
    "serve",
    "cli",
)
"""From the ground up: each imports only from those before it."""
EVERYWHERE = ("errors", "support")
"""Rooms that the picture draws no arcs to."""
DOORS = frozenset(
    {
        ("data/samples.py", "medlego.data.in_memory"),
        ("generalist/generalist.py", "medlego.prediction"),
        ("evaluation/result.py", "medlego.evaluation.report.page"),
    }
)
"""Methods of values that call what is built on them, for people in notebooks: the only imports
upwards, each inside its method (decision 044). `imports` leaves them out."""


class Import(NamedTuple):
    """One name that a file imports from the package."""

    file: Path
    line: int
    module: str
    name: str

    @property
    def source(self) -> str:
        """The file that the name is imported from, or its module where that is a package."""
        inside = PACKAGE.parent.joinpath(*self.module.split("."), f"{self.name}.py")
        return f"{self.module}.{self.name}" if inside.is_file() else self.module

    @property
    def room(self) -> str:
        """The room that it comes from; empty for the package itself."""
        return (*self.source.split("."), "")[1]

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line}: {self.module}: {self.name}"


def files() -> list[Path]:
    """Every file of the package but its `__init__`."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE] + [
        PACKAGE / "errors.py"
    ]


def room_of(path: Path) -> str:
    """The room that a file stands in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """A file's dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, doors: bool = False) -> Iterator[Import]:
    """What a file imports from the package, wherever in it the import stands, but for `DOORS`.

    With `doors` those alone.
    """
    for imported in _imports(path):
        if doors == ((str(path.relative_to(PACKAGE)), imported.source) in DOORS):
            yield imported


def _imports(path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "medlego":
            for alias in node.names:
                yield Import(path, node.lineno, node.module or "", alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "medlego":
                    yield Import(path, node.lineno, alias.name, "")


def arrows() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports from the second."""
    return {
        (room_of(path), imported.room)
        for path in files()
        for imported in imports(path)
        if imported.room not in ("", room_of(path))
    }


def picture() -> str:
    """The rooms as floors, the ground below; an arc for each room that another imports from.

    Arcs downwards run on the right. One upwards would run on the left, in red.
    """
    step, left, width = 40, 90, 130
    height = step * len(ROOMS) + 40
    floor = {room: height - 50 - step * n for n, room in enumerate(ROOMS)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 470 {height}" '
        'font-family="sans-serif" font-size="14">',
        f'<rect width="470" height="{height}" fill="white"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker></defs>',
    ]
    for here, there in sorted(arrows()):
        start, stop = floor[here], floor[there]
        if there in EVERYWHERE and stop > start:
            continue
        edge, side, colour = (left + width, 1, "#3465a4") if stop > start else (left, -1, "#b00020")
        reach = edge + side * (14 + 0.5 * abs(stop - start))
        parts.append(
            f'<path d="M{edge} {start + 4}C{reach:.0f} {start + 4} {reach:.0f} {stop - 4} {edge} '
            f'{stop - 4}" fill="none" stroke="{colour}" stroke-opacity="0.55" '
            f'marker-end="url(#tip)"><title>{here} imports from {there}</title></path>'
        )
    for room, y in floor.items():
        parts.append(
            f'<rect x="{left}" y="{y - 14}" width="{width}" height="28" rx="4" fill="#eef2f7" '
            f'stroke="#3465a4"/><text x="{left + width / 2:.0f}" y="{y + 5}" '
            f'text-anchor="middle">{room}</text>'
        )
    parts.append(
        f'<text x="14" y="{height - 12}" font-size="12">Every room may import from '
        f"{' and '.join(EVERYWHERE)}; those arcs are left out.</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {len(arrows())} arrows")
