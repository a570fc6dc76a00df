"""The pages are true: commands in the README run, the reference is the commands' own help."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from benchmarks import tables
from medlego.cli.app import GROUPS, VERBS, app
from medlego.cli.outcome import run_app
from tools.make_cli_reference import PAGE, reference

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def commands_of(page: str) -> list[str]:
    """What its console blocks ask of medlego."""
    lines = [line for block in blocks("console", page) for line in block.splitlines()]
    return [line.removeprefix("$ medlego ") for line in lines if line.startswith("$ medlego ")]


def test_the_command_reference_is_the_commands_own_help():
    assert PAGE.read_text() == reference(), "run make docs"


def test_the_result_tables_are_those_of_the_json():
    assert tables.PAGE.read_text() == tables.page(), "run python -m benchmarks.tables"


def test_every_verb_and_group_stands_in_the_reference():
    verbs = re.findall(r"^## medlego ?(.*)$", reference(), flags=re.MULTILINE)
    assert sorted(verbs) == sorted(["", *GROUPS, *VERBS])


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    asked = set(re.findall(r"\$ make ([a-z]+)", README + (ROOT / "CONTRIBUTING.md").read_text()))
    assert {"demo", "test"} <= asked <= targets


PAGES = [path for at in ("*.md", "docs/**/*.md", "examples/*.md") for path in ROOT.glob(at)]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_commands_and_python_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    rows = ["path,label,patient_id,split"]
    for label in ("none", "tumour"):
        (tmp_path / "brain" / label).mkdir(parents=True)
        for number in range(12):
            path = tmp_path / "brain" / label / f"{number}.png"
            pixels = generator.integers(0, 255, (64, 64), dtype=np.uint8)
            Pillow.fromarray(pixels).save(path)
            split = ("train", "val", "test")[number // 4]
            rows.append(f"{path.relative_to(tmp_path)},{label},{label}{number},{split}")
    (tmp_path / "chest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "scan.png").write_bytes(path.read_bytes())
    commands = commands_of(README)
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)
        quick = ["--epochs", "1"] if words[0] == "train" else []
        assert run_app(app, [*words, *quick]) == 0, capsys.readouterr().err
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert "brain" in capsys.readouterr().out
    assert (tmp_path / "report-2.html").is_file()


def test_absolute_links_to_the_repository_lead_to_files_of_it():
    address = r"https://(?:github\.com/medlego/medlego/blob|raw\.githubusercontent\.com/medlego/medlego)/main/"
    linked = re.findall(address + r"([\w./-]+)", README)
    assert len(linked) > 8
    assert [path for path in linked if not (ROOT / path).is_file()] == []
