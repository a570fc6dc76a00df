"""What the pages and docstrings cite exists: files, sections, and names of the package."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from medlego.merge.methods import GROUP
from tools.rooms import PACKAGE, ROOMS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PAGES = sorted(
    path
    for at in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md")
    for path in ROOT.glob(at)
    if path.name != "CHANGELOG.md"  # tells of paths as they were
)
FOLDERS = ("benchmarks", "containers", "docs", "examples", "src", "tests", "tools")
SOURCES = sorted(path for at in FOLDERS for path in (ROOT / at).rglob("*.py"))
FIRST = {*FOLDERS, *ROOMS, *(path.name for path in TESTS.iterdir() if path.is_dir())}
"""What a path in back-ticks begins with, from the root, in the package or among the tests."""
UNIT = "medlego.service"
"""What systemd knows the service by."""
ELSEWHERE = {"CHANGELOG.md", "CARD.md", "card.md", "DATASETS.md"}
"""Pages besides: what medlego writes, and what comes with data sets."""


def paths(text: str) -> Iterator[str]:
    """What looks like a path of the repository: it begins with a folder, or is a program."""
    for word in re.findall(r"`([\w.*-]+(?:/[\w.*-]*)+)`", text):
        if word.split("/")[0] in FIRST or word.endswith(".py"):
            yield word


def exists(word: str, page: Path) -> bool:
    word = re.sub(r"\b[A-Z]+(?=\.py$)|\bNAME\b", "*", word)
    places = (ROOT, TESTS, PACKAGE, PACKAGE.parent, page.parent)
    return any(any(place.glob(word)) or any(place.glob(f"{word}.py")) for place in places)


def cited_names(text: str) -> list[str]:
    return re.findall(r"(?<![\w./-])medlego(?:\.[A-Za-z_]\w*)+", text)


def resolves(name: str) -> bool:
    """Whether it is a module, or leads to an attribute of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def docstrings(path: Path) -> Iterator[str]:
    """Its docstrings, those of attributes too, and its comments."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    yield from re.findall(r"^[^\"'\n]*# (.*)$", text, flags=re.MULTILINE)


def wrong(files: Iterable[Path], problems: Callable[[Path], Iterable[str]]) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {word}" for path in files for word in problems(path)]


def test_paths_that_a_page_names_exist() -> None:
    def missing(page: Path) -> list[str]:
        return [word for word in paths(page.read_text()) if not exists(word, page)]

    assert wrong(PAGES, missing) == []


def test_pages_that_a_file_names_exist() -> None:
    pages = {page.name for page in PAGES} | ELSEWHERE

    def missing(path: Path) -> set[str]:
        return set(re.findall(r"(?<![\w<>{}*-])[\w-]+\.md\b", path.read_text())) - pages

    assert wrong((*PAGES, *SOURCES), missing) == []


def test_names_of_the_package_resolve() -> None:
    def missing(path: Path) -> list[str]:
        text = path.read_text() if path.suffix == ".md" else "\n".join(docstrings(path))
        return [
            name for name in cited_names(text) if name not in (GROUP, UNIT) and not resolves(name)
        ]

    assert wrong((*PAGES, ROOT / "CHANGELOG.md", *SOURCES), missing) == []


def test_sections_of_the_maths_exist() -> None:
    sections = re.findall(r"^## (\d+)\.", (ROOT / "docs" / "maths.md").read_text(), re.MULTILINE)

    def missing(path: Path) -> list[str]:
        cited = re.findall(r"maths(?:\.md)?\)?,\s+sections? ([\d, and]*\d)", path.read_text())
        return [n for n in re.findall(r"\d+", " ".join(cited)) if n not in sections]

    assert wrong((*PAGES, *SOURCES), missing) == []
