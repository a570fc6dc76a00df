"""Tutorials and how-to pages are true: their commands and Python run, in their order."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot

from debian import program
from medlego.cli.app import VERBS, app
from medlego.cli.outcome import run_app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WALKS = sorted([*DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")])
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *WALKS])
RUN = ("console", "python")
IMAGES = {"review-and-sign": 300, "first-generalist": 120}
"""Images that a page's gate or intervals need; others do with fewer."""
WORDS = 15_000
"""Of README, tutorials and how-to pages together."""
QUICK = {
    "train": ["--epochs", "1"],
    "adapt": ["--epochs", "1"],
    "evaluate": ["--resamples", "100"],
    "data sample": ["--size", "64"],
}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Every line that calls medlego, in whichever block; without comment and redirection."""
    for _, text in blocks(page):
        for line in text.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:\$ )?medlego (.*)", line):
                yield re.split(r"\s+(?:#|>|\||&)", found[1])[0]


def verb_of(words: list[str]) -> str:
    """The verb that a command begins with."""
    two = " ".join(words[:2])
    return two if two in VERBS else words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(re.sub(r"--json(?= -|$)", "", line))
        if not words or words[0].startswith("-"):
            continue
        command = app
        for word in verb_of(words).split():
            command = command.commands[word]  # type: ignore[assignment]
        command.make_context(words[0], words[len(verb_of(words).split()) :])


@pytest.mark.parametrize(
    "page", [p for p in WALKS if any(kind in RUN for kind, _ in blocks(p))], ids=lambda p: p.stem
)
def test_a_page_can_be_followed_to_the_letter(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    if page.stem == "pacs":
        program("Orthanc", "orthanc")
    names: dict[str, object] = {}
    with contextlib.ExitStack() as services:
        services.callback(pyplot.close, "all")
        for language, text in blocks(page):
            if language == "console":
                for line in text.replace("\\\n", " ").splitlines():
                    if line.startswith("$ "):
                        _run(line.removeprefix("$ "), page, services)
            elif language == "python":
                exec(compile(text, page.name, "exec"), names)
            elif name := re.match(r"(?:#|//) ([\w.-]+)\n", text):
                (tmp_path / name[1]).write_text(text.removeprefix(name[0]))


def _run(line: str, page: Path, services: contextlib.ExitStack) -> None:
    if not line.startswith("medlego "):
        assert shutil.which(line.split()[0]), line
        if line.endswith(" &"):
            service = subprocess.Popen(shlex.split(line.removesuffix(" &")))
            services.callback(service.wait)
            services.callback(service.terminate)
        else:
            subprocess.run(["bash", "-ec", line], check=True, timeout=120)
        return
    command, _, output = line.partition(" > ")
    words = shlex.split(command, comments=True)[1:]
    verb = verb_of([word for word in words if word != "--json"])
    images = ["--images", str(IMAGES.get(page.stem, 48))] if verb == "data sample" else []
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = run_app(app, [*words, *QUICK.get(verb, []), *images])
    assert code == 0, f"{line}\n{printed.getvalue()}\n{errors.getvalue()}"
    if output:
        Path(output.strip()).write_text(printed.getvalue())


def test_the_pages_stay_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 700
    usage = ("serve", "page", "dicomweb", "containers", "many-images", "model-card")
    pages = [ROOT / "README.md", *WALKS, *(DOCS / f"{name}.md" for name in usage)]
    assert sum(len(page.read_text().split()) for page in pages) < WORDS
