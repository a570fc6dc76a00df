"""Write docs/settings.md: every setting of files and flags, from the models that check them."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from medlego.evaluation import GateLimits
from medlego.merge import METHODS
from medlego.serve import Rule, ServiceLimits
from medlego.train import TrainSettings
from medlego.train.experiment import DataTable, EvaluationTable, Experiment, MethodTable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
FILES: dict[str, tuple[str, type[BaseModel]]] = {
    "Training": ("`medlego train --settings FILE`, and `TrainSettings` in Python.", TrainSettings),
    "Experiment": ("`medlego run FILE`.", Experiment),
    "Experiment: a data set": ("`[data.TASK]`.", DataTable),
    "Experiment: a method": ("`[methods.NAME]`.", MethodTable),
    "Experiment: evaluation": ("`[evaluation]`.", EvaluationTable),
    "Gate": ("`--gate FILE`; limits of a task are below.", GateLimits),
    "Gate: limits of a task": ("`[default]` and `[task.NAME]`.", type(GateLimits().default)),
    "Service": ("`medlego serve --limits FILE`.", ServiceLimits),
    "Watch": ("`medlego dicomweb watch --rule FILE`.", Rule),
}
HEAD = """# Settings

Written by `make docs` from the models that check them. Files are TOML; an unknown key is an
error, and all problems of a file are named together.
"""


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for title, (where, model) in FILES.items():
        parts.append(f"\n## {title}\n\n{where}\n\n{_table(model)}")
    parts.append("\n## Merge methods\n\n`medlego assemble --method NAME --set SETTING=NUMBER`.\n\n")
    parts.append("| method | setting | default | |\n| --- | --- | --- | --- |\n")
    for name, method in METHODS.items():
        for setting, field in method.settings.model_fields.items():
            about = _sentence(method.settings.__doc__ or "", setting)
            parts.append(f"| `{name}` | `{setting}` | `{field.default}` | {about} |\n")
    return "".join(parts)


def _table(model: type[BaseModel]) -> str:
    told = dict(_docstrings(model))
    lines = ["| setting | default | |\n| --- | --- | --- |\n"]
    for name, field in model.model_fields.items():
        if not (about := told.get(name) or _sentence(model.__doc__ or "", name)):
            raise ValueError(f"{model.__name__}.{name}: expected a docstring, found none")
        default = "required" if field.is_required() else _default(model, name)
        lines.append(f"| `{field.alias or name}` | {default} | {about} |\n")
    return "".join(lines)


def _default(model: type[BaseModel], name: str) -> str:
    """As TOML would have it; what depends on the machine or is not set, in words."""
    value = model.model_fields[name].get_default(call_default_factory=True)
    if name == "decoders":
        return "one a core, 2 to 4"
    if value is None:
        return "not set"
    if isinstance(value, BaseModel) or value == {}:
        return "`{}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Each attribute's docstring, in one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(after.value, ast.Constant)
            yield field.target.id, " ".join(str(after.value.value).split())


def _sentence(text: str, name: str) -> str:
    """The sentence or clause of a docstring that names a setting."""
    for sentence in re.split(r"(?<=\.)\s+", " ".join(text.split())):
        if f"`{name}`" in sentence:
            return sentence
    return ""
