"""The application: global flags and the verbs. Heavy imports wait until a verb runs."""

from __future__ import annotations

from typing import Annotated

import typer

from medlego.cli import (
    adapt,
    assemble,
    card,
    check,
    data,
    demo,
    dicomweb,
    edit,
    evaluate,
    headround,
    inspect,
    interop,
    keys,
    predict,
    refit,
    screen,
    serve,
    store,
    train,
)
from medlego.cli.console import Options
from medlego.cli.tables import TableCommand

app = typer.Typer(
    name="medlego",
    help="Turn specialist medical-image classifiers into one generalist without moving an image.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)


def _show_version(asked: bool) -> None:
    if asked:
        from medlego import __version__

        print(f"medlego {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Global flags."""
    context.obj = Options(json=json, quiet=quiet, debug=debug)


app.command("train", cls=TableCommand)(train.command)
app.command("refit")(refit.command)
app.command("adapt", cls=TableCommand)(adapt.command)
app.command("assemble")(assemble.command)
app.command("inspect")(inspect.command)
app.command("evaluate")(evaluate.command)
app.command("check")(check.command)
app.add_typer(data.app, name="data")
app.command("screen")(screen.command)
app.command("predict")(predict.command)
app.command("serve")(serve.command)
app.add_typer(dicomweb.app, name="dicomweb")
app.command("card")(card.command)
app.add_typer(headround.app, name="head-round")
app.add_typer(edit.app, name="edit")
app.add_typer(store.app, name="store")
app.add_typer(keys.app, name="keys")
app.command("sign")(keys.sign_command)
app.command("verify")(keys.verify_command)
app.add_typer(interop.importing, name="import")
app.add_typer(interop.exporting, name="export")
app.command("demo")(demo.command)
