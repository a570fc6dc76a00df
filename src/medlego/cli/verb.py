"""How a function becomes a verb: loaded when it is used, its groups of options spelt out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import is_dataclass, replace
from importlib import import_module
from inspect import Parameter, Signature, getdoc, signature
from textwrap import dedent, indent
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from medlego.cli.checks import refuse_unwritable
from medlego.cli.options import JsonFile
from medlego.cli.terminal import Terminal

Function = Callable[..., None]

_TABLE = re.compile(r"\{([\w.]+):(\w+)(?:\.(\w+))?\}")
_EXAMPLE = "\n\nExample:\n"
"""Begins the end of a verb's docstring: commands that its help shows as they stand."""


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
        text, _, example = (getdoc(function) or "").partition(_EXAMPLE)
        plain = typer.Typer(add_completion=False, rich_markup_mode=None)
        plain.command(self.name, cls=_Command, help=text, epilog=example)(spelt_out(function))
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

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """The example as it stands: a command that is wrapped cannot be copied."""
        if self.epilog:
            formatter.write(f"\nExample:\n{indent(dedent(self.epilog), '  ')}\n")

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names of options; to list a table here would take its time at every key."""
        items = super().shell_complete(ctx, incomplete)
        for item in items:
            item.help = _TABLE.sub("…", item.help or "")
        return items


def _listed(role: re.Match[str]) -> str:
    return ", ".join(f"{word} ({text})" if text else word for word, text in _words(role).items())


def _words(role: re.Match[str]) -> dict[str, str]:
    """A table's words, each with its explanation if there is one."""
    module, name, attribute = role.groups()
    table = getattr(import_module(module), name)
    if attribute and isinstance(table, Mapping):
        return {key: "" for key, entry in table.items() if getattr(entry, attribute)}
    if attribute:
        return {getattr(entry, attribute): "" for entry in table}
    if isinstance(table, Mapping) and all(isinstance(text, str) for text in table.values()):
        return dict(table)
    return dict.fromkeys(table, "")


def spelt_out(function: Function) -> Function:
    """A verb's function as typer reads it.

    A parameter whose type is a dataclass stands for its fields, each an option; the `Terminal`
    comes from the context, and every verb takes `--json FILE`.
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
    options.append(Parameter("json", Parameter.KEYWORD_ONLY, default=None, annotation=JsonFile))

    def run(**values: Any) -> None:
        file = values.pop("json")
        if file is not None:
            refuse_unwritable(file)
        for name, hint in hints.items():
            if hint is Terminal:
                values[name] = replace(values[name].obj, file=file)
            elif name in groups:
                values[name] = hint(**{key: values.pop(key) for key in groups[name]})
        function(**values)

    run.__doc__ = function.__doc__
    run.__annotations__ = {option.name: option.annotation for option in options}
    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    return run


def _option(parameter: Parameter, hint: Any) -> Parameter:
    """Keyword only; if its help begins with a table, the shell completes the table's words."""
    (info,) = getattr(hint, "__metadata__", (None,))
    if isinstance(info, OptionInfo) and (role := _TABLE.match(info.help or "")):
        info = copy(info)
        info.autocompletion = lambda: list(_words(role).items())
        hint = Annotated[hint.__origin__, info]
    return parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)
