"""How a function becomes a verb: loaded when it is used, its groups of options spelt out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand

from medlego.cli.terminal import Terminal

Function = Callable[..., None]

_TABLE = re.compile(r"\{([\w.]+):(\w+)(?:\.(\w+))?\}")


class Verb(TyperCommand):
    """A verb by name and summary; its file is imported when it runs or shows its own help.

    `home` is a file of this room and a function in it, as `edit:add`.
    """

    def __init__(self, name: str, home: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._home = home

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of the function's own command."""
        file, _, name = self._home.partition(":")
        function = getattr(import_module(f"medlego.cli.{file}"), name)
        plain = typer.Typer(add_completion=False, rich_markup_mode=None)
        plain.command(self.name, cls=_Command)(spelt_out(function))
        return typer.main.get_command(plain).make_context(info_name, args, parent, **extra)


class _Command(TyperCommand):
    """Its help lists what a table has today: `{medlego.merge:METHODS}` becomes the names.

    With an attribute, as in `{medlego.data:KINDS.linear}`, only those of entries that have it; of
    a table without names, the attribute's values.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for parameter in self.params:
            parameter.help = _TABLE.sub(_listed, parameter.help or "")  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _listed(role: re.Match[str]) -> str:
    module, name, attribute = role.groups()
    table = getattr(import_module(module), name)
    if attribute and isinstance(table, Mapping):
        words = [key for key, entry in table.items() if getattr(entry, attribute)]
    elif attribute:
        words = [getattr(entry, attribute) for entry in table]
    elif isinstance(table, Mapping) and all(isinstance(text, str) for text in table.values()):
        words = [f"{key} ({text})" for key, text in table.items()]
    else:
        words = list(table)
    return ", ".join(words)


def spelt_out(function: Function) -> Function:
    """A verb's function as typer reads it.

    A parameter whose type is a dataclass stands for its fields, each an option; the `Terminal`
    comes from the context.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Mapping[str, Parameter]] = {}
    options: list[Parameter] = []
    for name, parameter in signature(function).parameters.items():
        if hints[name] is Terminal:
            options.append(_option(parameter, typer.Context))
        elif is_dataclass(hints[name]):
            inner = get_type_hints(hints[name], include_extras=True)
            groups[name] = signature(hints[name]).parameters
            options += [_option(field, inner[key]) for key, field in groups[name].items()]
        else:
            options.append(_option(parameter, hints[name]))

    def run(**values: Any) -> None:
        for name, hint in hints.items():
            if hint is Terminal:
                values[name] = values[name].obj
            elif name in groups:
                values[name] = hint(**{key: values.pop(key) for key in groups[name]})
        function(**values)

    run.__doc__ = function.__doc__
    run.__annotations__ = {option.name: option.annotation for option in options}
    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    return run


def _option(parameter: Parameter, hint: Any) -> Parameter:
    return parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)
