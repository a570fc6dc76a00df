"""Imports go one way, and the public names are sealed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import medlego

PACKAGE = Path(medlego.__file__).parent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ARCHITECTURE.md"
TABLE = PAGE.read_text().partition("## Modules")[2].partition("\n\n`medlego/__init__")[0]
ORDER = [
    name.rstrip("/")
    for row in TABLE.splitlines()
    if row.startswith("| `")
    for name in re.findall(r"`([a-z]+/?)`", row.split("|")[1])
]
"""The modules in the order in which docs/ARCHITECTURE.md lists them."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medlego"):
            parts = (node.module or "").split(".")
            names = {alias.name for alias in node.names} & set(ORDER)
            found |= {parts[1]} if len(parts) > 1 else names
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {n[1] for n in names if n[0] == "medlego" and len(n) > 1}
    return found


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_those_before_it(path):
    here = ORDER.index(room(path))
    later = [name for name in imported(path) if ORDER.index(name) > here]
    assert later == []


def test_every_module_has_its_place_in_the_order():
    assert sorted({room(path) for path in FILES}) == sorted(ORDER)


def test_public_names_are_these():
    assert sorted(medlego.__all__) == [
        "Base",
        "Brick",
        "Generalist",
        "LowRank",
        "METHODS",
        "Task",
        "TrainSettings",
        "assemble",
        "evaluate",
        "load_brick",
        "merge_files",
        "predict",
        "save_brick",
        "train_brick",
    ]


def test_public_names_are_what_they_say_whatever_was_imported_before():
    code = (
        "import medlego.prediction, medlego.evaluation, medlego.merge, medlego.train, medlego\n"
        "assert all(getattr(medlego, n) is not None for n in medlego.__all__)\n"
        "assert callable(medlego.predict) and callable(medlego.evaluate)\n"
        "from medlego import *\n"
        "assert callable(assemble)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_imports_neither_torch_nor_numpy():
    code = (
        "import sys; sys.argv = ['medlego', '--help']\n"
        "from medlego.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'timm', 'pydantic', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
