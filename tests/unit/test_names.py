"""One name for one thing: no two public classes of the package share a name."""

from __future__ import annotations

import ast
from collections import defaultdict

from tools.rooms import files, module_of


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict(list)
    for path in files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
