"""Nothing in the package can run code out of a file that it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import medlego

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def unpickles(tree: ast.AST) -> list[str]:
    """What in a module could run code out of a file."""
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            problems += [alias.name for alias in node.names if alias.name in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name for alias in node.names}
            problems += [node.module] if node.module in UNPICKLERS else []
            problems += ["torch.load"] if node.module == "torch" and "load" in names else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            said = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in ("torch.load", "torch.jit.load", "eval", "exec", "pd.read_pickle"):
                problems.append(called)
            loads = called in ("np.load", "numpy.load", "np.fromfile")
            if loads and said.get("allow_pickle") != "False":
                problems.append(f"{called} without allow_pickle=False")
    return problems


MODULES = sorted(Path(medlego.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_no_module_unpickles(path: Path) -> None:
    assert unpickles(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(f, weights_only=True)",
        "from torch import load",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_search_for_unpicklers_finds(code: str) -> None:
    assert unpickles(ast.parse(code)) != []
