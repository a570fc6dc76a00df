"""The table of verbs, how they are loaded, and how text meets the screen."""

from __future__ import annotations

import json
import os
import pty
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
    assert "expected a known command, such as assemble; see" in capsys.readouterr().err


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


def test_a_line_printed_under_a_progress_bar_stands_alone():
    # stderr and stdout are one screen; after the bar's last frame it is erased, then the line comes
    code = (
        "from medlego.cli.terminal import Terminal\n"
        "terminal = Terminal()\n"
        "with terminal.progress() as show:\n"
        "    show('reading', 0, 2); terminal.say('a line'); show('comparing', 1, 2)\n"
    )
    main, side = pty.openpty()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=side, stderr=side)
    os.close(side)
    screen = os.read(main, 1 << 16).decode()
    os.close(main)
    before, _, after = screen.partition("a line")
    assert before.endswith("\x1b[2K")
    assert "reading" in before
    assert "comparing" in after


HIDDEN = "\x1b[31m \r \x9b2J \u202e \u200b \u2028 \udc80 \x00"
SPELT = r"\x1b[31m \r \x9b2J \u202e \u200b \u2028 \udc80 \x00"


def test_nothing_that_a_terminal_obeys_reaches_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    monkeypatch.setattr("medlego.cli.terminal.LINES_S", ((9, -1),))
    terminal = Terminal()
    terminal.say(HIDDEN)
    terminal.note(HIDDEN)
    terminal.table((HIDDEN, "n"), [(HIDDEN, "two\nlines é")], HIDDEN)
    with terminal.progress() as show:
        show(HIDDEN, 1, 2)
    out, err = capsys.readouterr()
    assert (out.count(SPELT), err.count(SPELT)) == (5, 1)
    assert "é" in out
    assert all(char.isprintable() or char == "\n" for char in out + err)


def test_what_libraries_warn_of_and_log_is_spelt_too():
    code = (
        "import logging, sys, warnings\n"
        "from medlego.cli import main\n"
        "import medlego.cli.outcome as outcome\n"
        f"text = {HIDDEN!r}\n"
        "def verb(*_):\n"
        "    warnings.warn(text); logging.getLogger('other').warning('%s', text)\n"
        "outcome.run_app = verb\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stderr.count(SPELT) == 2
    assert all(char.isprintable() or char == "\n" for char in ran.stderr)


def test_json_of_hidden_characters_is_spelt_and_reads_the_same(capsys, tmp_path):
    Terminal(json=True).emit({HIDDEN: "é\n\U000e0041"}, tmp_path / "x.json")
    out = capsys.readouterr().out
    assert out == (tmp_path / "x.json").read_text()
    assert all(char.isprintable() or char == "\n" for char in out)
    assert "é" in out
    assert json.loads(out) == {HIDDEN: "é\n\U000e0041"}


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", f"[/x]{HIDDEN}"),
        ("--debug", "inspect", f"[/x]{HIDDEN}"),
        ("keys", "show", "one.pub", f"[/x]{HIDDEN}"),
        (f"[/x]{HIDDEN}",),
    ],
    ids=["error", "traceback", "usage", "verb"],
)
def test_names_in_errors_are_shown_and_not_obeyed(words, capsys):
    assert run_app(app, [word.replace("\x00", "") for word in words]) == 2
    error = capsys.readouterr().err
    assert "[/x]" in error
    assert all(char.isprintable() or char == "\n" for char in error)


def test_nothing_is_printed_for_people_beside_json(capsys):
    terminal = Terminal(json=True)
    terminal.say("x")
    terminal.table(("a",), [("b",)], "c")
    terminal.emit({"x": 1})
    assert capsys.readouterr().out == '{\n  "x": 1\n}\n'
