"""What every verb does alike: examples, widths, --json, completion, and no colours in a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from medlego.cli import doctor
from medlego.cli.app import VERBS, app
from medlego.cli.outcome import run_app
from medlego.cli.terminal import Terminal


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def parsed(words: list[str]) -> Any:
    """The context of a verb for these words, parsed and not run."""
    command: Any = app
    parent = app.make_context("medlego", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command.make_context(command.name, words, parent)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_ends_its_help_with_an_example_that_its_parser_takes(verb, capsys):
    assert run(*verb.split(), "--help") == 0
    text, _, example = capsys.readouterr().out.partition("\nExample:\n")
    assert max(map(len, (*text.splitlines(), *example.splitlines()))) <= 80
    lines = example.replace("\\\n", " ").strip().splitlines()
    assert 1 <= len(lines) <= 2
    for line in lines:
        first, *words = shlex.split(line)
        assert first == "medlego"
        assert words[: len(verb.split())] == verb.split()
        parsed(words)


def test_a_wrong_example_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parsed(["train", "brain/", "-o", "x", "--colour", "red"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_a_file_for_its_json(verb, capsys):
    assert run(*verb.split(), "--help") == 0
    assert "  --json FILE" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["--json keys new {}/a", "keys new {}/a --json", "keys new --json -- {}/a"]
)
def test_json_without_a_file_is_printed_wherever_it_stands(line, tmp_path, capsys):
    assert run(*line.format(tmp_path).split()) == 0
    assert json.loads(capsys.readouterr().out)["private"] == f"{tmp_path}/a.key"


def test_json_with_a_file_is_written_and_the_text_printed(tmp_path, capsys):
    assert run("keys", "new", tmp_path / "a", "--json", tmp_path / "a.json") == 0
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path}/a.key")
    assert json.loads((tmp_path / "a.json").read_text())["private"] == f"{tmp_path}/a.key"


def test_a_file_for_json_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys):
    assert run("keys", "new", tmp_path / "a", "--json", tmp_path / "gone" / "x.json") == 2
    assert "expected a folder, found none" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_documents_of_a_verb_that_goes_on_are_lines(capsys):
    terminal = Terminal(json=True)
    terminal.emit({"a": 1}, line=True)
    terminal.emit({"a": [2]}, line=True)
    assert capsys.readouterr().out == '{"a": 1}\n{"a": [2]}\n'


@pytest.fixture
def complete(monkeypatch, capsys) -> Callable[[str], list[str]]:
    """What bash is offered behind a line."""

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("_MEDLEGO_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(re.findall(r"\s+", line))))
        with pytest.raises(SystemExit, match="0"):
            run_app(app, [])
        return capsys.readouterr().out.split()

    return offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("medlego ev", ["evaluate"]),
        ("medlego keys ", ["new", "show"]),
        ("medlego train --ima", ["--image-size"]),
        ("medlego evaluate --split t", ["train", "test"]),
        ("medlego assemble --method co", ["core-ties", "core-dare-ties"]),
        ("medlego predict g --mode ", ["merged", "grouped", "routed"]),
        ("medlego predict g ", []),
    ],
)
def test_verbs_options_and_words_of_tables_are_completed(complete, line, offered):
    assert complete(line) == offered


def test_completion_of_verbs_and_options_loads_nothing_heavy():
    code = (
        "import os, sys; sys.argv = ['medlego']\n"
        "from medlego.cli.app import app; from medlego.cli.outcome import run_app\n"
        "for words, place in (('medlego pr', 1), ('medlego assemble --me', 2)):\n"
        "    os.environ |= {'_MEDLEGO_COMPLETE': 'complete_zsh', '_TYPER_COMPLETE_ARGS': words}\n"
        "    try: run_app(app, [])\n"
        "    except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'timm'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "predict" in ran.stdout
    assert "--method" in ran.stdout
    assert "medlego.merge" not in ran.stdout


def in_terminal(**environment: str) -> str:
    """What a table looks like on a terminal with these variables."""
    code = "from medlego.cli.terminal import Terminal; Terminal().table(('a', 'b'), [('1', '2')])"
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=theirs, env={**os.environ, **environment}
    )
    os.close(theirs)
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    return text


def test_a_terminal_gets_colours_only_where_it_wants_them(capsys):
    assert "\x1b[" in in_terminal(TERM="xterm-256color")
    assert "\x1b" not in in_terminal(TERM="dumb")
    assert not re.search(r"\x1b\[[\d;]*[34]\dm", in_terminal(TERM="xterm-256color", NO_COLOR="1"))
    Terminal().table(("a", "b"), [("1", "2")], "title")
    assert "\x1b" not in capsys.readouterr().out


def test_the_version_comes_with_what_a_bug_report_needs(capsys):
    assert run("--version") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"medlego \S+, sources [0-9a-f]{12}", first)
    assert second.startswith("Python 3.")
    assert f"torch {metadata.version('torch')}" in third


def test_doctor_finds_nothing_broken_here_and_names_nobody(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    assert run("doctor", "--json", tmp_path / "d.json") == 0
    said = capsys.readouterr().out
    assert "the embedded base runs" in said
    assert "somebody" not in said + (tmp_path / "d.json").read_text()
    checks = {one["check"] for one in json.loads((tmp_path / "d.json").read_text())["findings"]}
    assert {"packages", "model", "cpu", "codecs", "cache", "store"} <= checks


def lacking(monkeypatch, name: str) -> None:
    """As if a package were not installed."""
    version = metadata.version

    def pretended(asked: str) -> str:
        if asked == name:
            raise metadata.PackageNotFoundError(asked)
        return version(asked)

    monkeypatch.setattr(metadata, "version", pretended)


def test_doctor_says_how_to_get_a_missing_extra(capsys, monkeypatch):
    lacking(monkeypatch, "onnxscript")
    assert run("doctor") == 0
    said = capsys.readouterr().out
    assert "extra onnx        missing  no onnxscript" in said
    assert "to do: pip install 'medlego[onnx]'" in said


def test_doctor_fails_where_a_needed_package_is_missing(capsys, monkeypatch):
    lacking(monkeypatch, "scipy")
    assert run("doctor") == 1
    out, err = capsys.readouterr()
    assert "broken   missing or too old: scipy" in out
    assert "to do: pip install 'scipy>=1.13'" in out
    assert err == "medlego: doctor: expected nothing broken, got packages\n"


def test_doctor_names_the_codec_that_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("medlego.images.missing_codecs", lambda: {"A": None, "B": "pyjpegls"})
    assert run("doctor") == 0
    said = capsys.readouterr().out
    assert "1 of 2 DICOM transfer syntaxes can be decoded; not B (pyjpegls)" in said
    assert "to do: pip install 'medlego[dicom]'" in said


def test_doctor_says_which_variable_moves_a_folder_that_cannot_be_written(
    capsys, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path / "file" / "cache"))
    assert run("doctor") == 0
    said = capsys.readouterr().out
    assert "$MEDLEGO_CACHE cannot be written" in said
    assert "to do: set MEDLEGO_CACHE to a folder that you may write to" in said


def test_a_check_that_cannot_run_is_broken_and_stops_no_other(capsys, monkeypatch):
    def _codecs() -> list[doctor.SelfCheck]:
        raise ImportError("no pydicom")

    monkeypatch.setattr(doctor, "_CHECKS", (_codecs, doctor._packages))
    assert run("doctor") == 1
    out = capsys.readouterr().out
    assert "codecs            broken   ImportError: no pydicom" in out
    assert "packages          ok" in out


def test_equal_sources_have_equal_digests_and_others_do_not(monkeypatch, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name / "cli" / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "cli" / "doctor.py").write_text("c" * (name == "c"))
    (tmp_path / "b" / "cli" / "__pycache__" / "x.pyc").write_text(name)
    digests = []
    for name in ("a", "b", "c"):
        monkeypatch.setattr(doctor, "__file__", str(tmp_path / name / "cli" / "doctor.py"))
        digests.append(doctor.sources_digest())
    assert digests[0] == digests[1] != digests[2]


def test_json_before_other_files_never_writes_over_them(tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"an image")
    run("predict", tmp_path / "g", "--json", image)
    assert image.read_bytes() == b"an image"
