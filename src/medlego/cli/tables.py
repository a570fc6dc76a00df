"""Help that names the entries of tables, which are imported when it is shown."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperOption


class TableCommand(TyperCommand):
    """A command in whose help `{kinds}` stands for all task kinds.

    `{linear}` and `{thresholds}` stand for those whose flag of that name is set.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the names."""
        from medlego.data import KINDS

        names = {
            "{kinds}": KINDS,
            "{linear}": [name for name, kind in KINDS.items() if kind.linear],
            "{thresholds}": [name for name, kind in KINDS.items() if kind.thresholds],
        }
        for option in self.params:
            if isinstance(option, TyperOption) and option.help:
                for word, entries in names.items():
                    option.help = option.help.replace(word, ", ".join(entries))
        super().format_help(ctx, formatter)
