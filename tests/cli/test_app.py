"""The table of verbs, how they are loaded, and how text meets the screen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from medlego.cli.app import GROUPS, VERBS, app
from medlego.cli.outcome import run_app
from medlego.cli.terminal import Terminal
from medlego.cli.verb import spelt_out


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_has_its_help_with_every_list_filled(words, capsys):
    assert run_app(app, [*words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage:")
    assert ":METHODS}" not in text
    assert "{medlego" not in text


def test_every_group_has_verbs_and_no_summary_is_cut_off(capsys):
    assert {words.split()[0] for words in VERBS if " " in words} == set(GROUPS)
    for words in ("", *GROUPS):
        assert run_app(app, [*words.split(), "--help"]) == 0
        assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_a_verb_that_is_called_wrongly_says_so_without_torch():
    code = (
        "import sys; from medlego.cli.app import app; from medlego.cli.outcome import run_app\n"
        "assert run_app(app, ['train']) == 2\n"
        "assert run_app(app, ['evaluate', 'DIR', '--resamples', '0']) == 2\n"
        "assert not {'torch', 'numpy', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_unknown_verb_gets_a_suggestion(capsys):
    assert run_app(app, ["asemble"]) == 2
    assert "Did you mean 'assemble'?" in capsys.readouterr().err


@dataclass(frozen=True)
class Weight:
    grams: Annotated[int, typer.Option(help="Weight.")] = 3
    heavy: Annotated[bool, typer.Option("--heavy")] = False


def test_a_group_of_options_is_spelt_out_and_comes_as_one_value(capsys):
    def verb(terminal: Terminal, name: str, *, weight: Weight) -> None:
        terminal.say(f"{name} {weight}")

    verb.__annotations__ |= {"terminal": Terminal, "weight": Weight}
    single = typer.Typer(add_completion=False)
    single.command()(spelt_out(verb))
    command = typer.main.get_command(single)
    command(["apple", "--grams", "5"], obj=Terminal(), standalone_mode=False)
    assert capsys.readouterr().out == "apple Weight(grams=5, heavy=False)\n"


def test_text_is_printed_as_it_is(capsys):
    text = "[/x] [bold]a[/bold] :smile: C[1].png"
    terminal = Terminal()
    terminal.say(text)
    terminal.note(text)
    terminal.table((text, "n"), [(text, "1")], text)
    with terminal.progress() as show:
        show(text, 1, 2)
    out = capsys.readouterr().out
    assert out.startswith(f"{text}\nnote: {text}\n")
    assert out.count(text) == 5


def test_nothing_is_printed_for_people_beside_json(capsys):
    terminal = Terminal(json=True)
    terminal.say("x")
    terminal.table(("a",), [("b",)], "c")
    terminal.emit({"x": 1})
    assert capsys.readouterr().out == '{\n  "x": 1\n}\n'
