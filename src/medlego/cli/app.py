"""The application: global flags and the table of verbs."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from typer.core import TyperGroup

from medlego.cli.terminal import Terminal
from medlego.cli.verb import Verb

VERBS = {
    "train": ("train:command", "Train a specialist: one brick on a frozen base."),
    "refit": ("refit:command", "Refit a brick's head to the bricks it will be merged with."),
    "adapt": ("adapt:command", "Train a brick for a new task, starting from a generalist."),
    "assemble": ("assemble:command", "Merge bricks into one generalist, without training."),
    "inspect": ("inspect:command", "Show what bricks or a generalist contain."),
    "evaluate": ("evaluate:command", "Score a generalist beside its specialists."),
    "check": ("check:command", "Compare two generalists on labelled images against limits."),
    "data check": ("data:check_command", "Find leaks, near-duplicates and contradicting labels."),
    "data remember": ("data:remember_command", "Keep what a later check needs of training images."),
    "data sample": ("data:sample_command", "Write synthetic images to try everything with."),
    "screen": ("screen:command", "Screen a brick from outside before it is used."),
    "predict": ("predict:command", "Find the tasks that images belong to, and answer them."),
    "serve": ("serve:command", "Answer images over HTTP, with a page for people."),
    "dicomweb analyse": ("dicomweb:analyse_command", "Answer the images of one study."),
    "dicomweb watch": (
        "dicomweb:watch_command",
        "Answer new images that fit a rule.",
    ),
    "card": ("card:command", "Write a model card."),
    "head-round export": ("head_round:export_command", "Write the merged model for each site."),
    "head-round fit": ("head_round:fit_command", "Fit a task's head to a site's own images."),
    "head-round import": (
        "head_round:import_command",
        "Put refitted heads into the generalist.",
    ),
    "edit add": ("edit:add_command", "Add a brick: a new task, or another site of a task."),
    "edit remove": ("edit:remove_command", "Remove a task or one of its sites."),
    "edit update": ("edit:update_command", "Replace a brick by a newer one of the same task."),
    "edit undo": ("edit:undo_command", "Go back to the state before the last edit."),
    "edit redo": ("edit:redo_command", "Repeat the edit that was undone last."),
    "edit verify": ("lineage:verify_command", "Verify that a generalist is what its recipe says."),
    "edit log": ("lineage:log_command", "List the entries of the lineage."),
    "edit diff": ("lineage:diff_command", "Show what changed between two entries."),
    "store ls": ("store:ls_command", "List bricks."),
    "store add": ("store:add_command", "Put bricks into the store."),
    "store rm": ("store:rm_command", "Delete bricks from the store."),
    "store gc": ("store:gc_command", "Delete leftovers and unused bricks."),
    "store push": ("store:push_command", "Copy bricks to another place."),
    "store pull": ("store:pull_command", "Copy bricks from another place."),
    "hub push": ("hub:push_command", "Publish a brick or a generalist with its card."),
    "hub pull": ("hub:pull_command", "Fetch and check a brick or a generalist."),
    "keys new": ("keys:new_command", "Make a key pair."),
    "keys show": ("keys:show_command", "Print a public key as an entry of a trust file."),
    "sign": ("keys:sign_command", "Sign bricks."),
    "verify": ("keys:verify_command", "Check the signatures of bricks."),
    "import peft": ("interop:import_peft_command", "Read a PEFT LoRA adapter."),
    "import melo": ("interop:import_melo_command", "Read a MeLo file."),
    "export peft": ("interop:export_peft_command", "Write a brick as a PEFT LoRA adapter."),
    "export timm": ("interop:export_timm_command", "Write a generalist as a timm state dict."),
    "export onnx": ("interop:export_onnx_command", "Write a generalist as an ONNX graph."),
    "run": ("run:command", "Run a whole experiment from one TOML file."),
    "demo": ("demo:command", "Run all steps on synthetic images, offline."),
    "doctor": ("doctor:command", "Show versions, codecs, devices, and what is missing."),
}
"""Per verb a file of this room, a function in it, and a summary."""

GROUPS = {
    "data": "Check data sets before training; make some to try.",
    "dicomweb": "Answer images of a picture archive; store the results there.",
    "head-round": "Let sites refit heads to a merged model; images stay there.",
    "edit": "Change a generalist in place; record and undo every edit.",
    "store": "Keep bricks by digest, find them, and share them.",
    "hub": "Share bricks and generalists on the Hugging Face hub.",
    "keys": "Make Ed25519 keys and entries of trust files.",
    "import": "Convert other tools' adapters to bricks.",
    "export": "Convert bricks and generalists for other tools.",
}

_root = typer.Typer(
    name="medlego",
    help="Turn specialist medical-image classifiers into one generalist without moving an image.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _show_version(version: bool) -> None:
    if version:
        from medlego.cli.doctor import facts, version_lines

        print(*version_lines(facts()), sep="\n")
        raise typer.Exit


@_root.callback()
def root(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions."),
    ] = False,
) -> None:
    """Global flags."""
    context.obj = Terminal(json=json, quiet=quiet)


def _make_app() -> TyperGroup:
    app = cast(TyperGroup, typer.main.get_command(_root))
    groups = {"": app}
    for words, (home, summary) in VERBS.items():
        group, _, name = words.rpartition(" ")
        if group not in groups:
            groups[group] = TyperGroup(
                name=group, help=GROUPS[group], no_args_is_help=True, rich_markup_mode=None
            )
            app.add_command(groups[group])
        groups[group].add_command(Verb(name, home, summary))
    return app


app = _make_app()
