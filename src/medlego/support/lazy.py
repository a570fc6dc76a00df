"""Packages whose public names are loaded when first used.

A room of this project lists its names in `__all__` and says under `if TYPE_CHECKING` which file
each comes from. So `medlego --help` imports no torch, and an extra is needed only by what uses it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _LazyPackage(ModuleType):
    """A package that finds its public names in its files.

    Importing a file of the same name as a public function (`evaluation/evaluate.py`) sets the
    module as an attribute of its package; here the function stays.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__["_homes"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(self._homes[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__["_homes"]):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._homes})


def load_lazily(package: str) -> None:
    """Let a package that is being imported load each name of its `__all__` when first used.

    Args:
        package: its `__name__`; the homes of its names are read off its own imports.
    """
    module = sys.modules[package]
    module.__dict__["_homes"] = {
        alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in module.__all__
    }
    module.__class__ = _LazyPackage
