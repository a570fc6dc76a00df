"""Every verb with the commonest mistakes: what comes is a sentence, never `unexpected`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image as Pillow

from factories import make_brick
from medlego.base import Base
from medlego.bricks import brick_bytes
from medlego.cli.app import VERBS, app
from medlego.cli.outcome import run_app
from medlego.cli.verb import spelt_out
from medlego.errors import FailureError
from medlego.generalist import assemble

PATHS = [
    *("nothing/there", "folder", "empty", "text.txt", "random.bin", "cut.safetensors", "loop"),
    *("chest.safetensors", "g", "photo.png", "broken.toml", "other.toml", "broken.json"),
    *("text.txt/below", "a" * 300, ""),
]
NUMBERS = ["many", "-1", "1.5", "nan", "1e99", "9" * 25, ""]
WORDS = ["", "no such word", "[/x]", "a=b=c", "chest=nothing/there", "=", "\x1b[31m\u202e", "-1"]
"""With a missing argument, an unknown option and one word too many these are what people do."""

DATA = "chest=folder"
GOOD: dict[str, dict[str, Any]] = {
    "train": {"data": "folder", "output": "new", "epochs": "1"},
    "refit": {
        "brick": "chest.safetensors",
        "data": "folder",
        "others": "brain.safetensors",
        "output": "new",
    },
    "adapt": {"directory": "g", "data": "folder", "output": "new", "epochs": "1"},
    "assemble": {"bricks": "chest.safetensors", "output": "new"},
    "inspect": {"paths": "chest.safetensors"},
    "evaluate": {"directory": "g", "data": DATA, "resamples": "100"},
    "check": {"directory": "g", "data": DATA, "against": "g", "resamples": "100"},
    "data check": {"data": "folder"},
    "data remember": {"data": "folder", "output": "new", "key": "site.key"},
    "data sample": {"folder": "new", "images": "3", "size": "32"},
    "screen": {"brick": "chest.safetensors"},
    "predict": {"directory": "g", "images": "photo.png"},
    "serve": {"directory": "g"},
    "dicomweb analyse": {"directory": "g", "study": "1.2.3", "url": "http://127.0.0.1:9"},
    "dicomweb watch": {
        "directory": "g",
        "rule": "rule.toml",
        "state": "new",
        "url": "http://127.0.0.1:9",
    },
    "card": {"path": "g"},
    "head-round export": {"directory": "g", "output": "new"},
    "head-round fit": {"model": "chest.safetensors", "data": "folder", "output": "new"},
    "head-round import": {"directory": "g", "heads": "chest.safetensors", "output": "new"},
    "edit add": {"directory": "g", "brick": "chest.safetensors"},
    "edit remove": {"directory": "g", "task": "chest"},
    "edit update": {"directory": "g", "brick": "chest.safetensors"},
    "edit undo": {"directory": "g"},
    "edit redo": {"directory": "g"},
    "edit verify": {"directory": "g"},
    "edit log": {"directory": "g"},
    "edit diff": {"directory": "g", "a": "0", "b": "0"},
    "store ls": {},
    "store add": {"bricks": "chest.safetensors"},
    "store rm": {"digests": "abcdef"},
    "store gc": {},
    "store push": {"place": "new"},
    "store pull": {"place": "new"},
    "hub push": {"path": "chest.safetensors", "repository": "clinic/brain"},
    "hub pull": {"repository": "clinic/brain", "output": "new"},
    "keys new": {"name": "new"},
    "keys show": {"public": "text.txt"},
    "sign": {"bricks": "chest.safetensors", "key": "text.txt"},
    "verify": {"bricks": "chest.safetensors", "trust": "other.toml"},
    "import peft": {
        "folder": "folder",
        "base": "mini",
        "task_name": "a",
        "labels": "a,b",
        "output": "new",
    },
    "import melo": {
        "file": "chest.safetensors",
        "alpha": "1",
        "base": "mini",
        "task_name": "a",
        "labels": "a,b",
        "output": "new",
    },
    "export peft": {"brick": "chest.safetensors", "output": "new"},
    "export timm": {"directory": "g", "output": "new"},
    "export onnx": {"directory": "g", "output": "new"},
    "demo": {"output": "new", "epochs": "1"},
    "doctor": {},
    "run": {"experiment": "experiment.toml", "output": "new"},
}
"""What each verb needs, out of the files of `work`."""

SLOW = {"train", "adapt", "demo", "serve", "dicomweb watch"}
"""Verbs that are given no word which they would take, since they would then work for long."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything that people confuse."""
    place = tmp_path_factory.mktemp("files")
    base, generator = Base.load("mini"), np.random.default_rng(0)
    bricks = [make_brick(name, seed, base=base) for seed, name in enumerate(("chest", "brain"))]
    for brick in bricks:
        (place / f"{brick.task.name}.safetensors").write_bytes(brick_bytes(brick))
    assemble(bricks).save(place / "g")
    for name in bricks[0].task.labels:
        (place / "folder" / name).mkdir(parents=True)
        for i in range(5):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Pillow.fromarray(pixels).save(place / "folder" / name / f"{i}.png")
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(place / "photo.png")
    (place / "cut.safetensors").write_bytes(brick_bytes(bricks[0])[:-50])
    (place / "random.bin").write_bytes(generator.bytes(3000))
    for name, text in (
        ("empty", ""),
        ("text.txt", "some words\n"),
        ("broken.toml", "a = [[\n"),
        ("other.toml", "colour = 1\n"),
        ("broken.json", '{"a": [1, '),
        ("rule.toml", 'modality = "DX"\n'),
        ("experiment.toml", "[data.chest]\nsource = 'nowhere'\n[methods.linear]\n"),
    ):
        (place / name).write_text(text)
    (place / "loop").symlink_to(place / "loop")
    return place


def parameters(verb: str) -> list[Any]:
    file, _, name = VERBS[verb][0].partition(":")
    function = getattr(import_module(f"medlego.cli.{file}"), name)
    app = typer.Typer(add_completion=False)
    app.command()(spelt_out(function))
    kinds = spelt_out(function).__annotations__
    return [
        (own, str(kinds[own.name]))
        for own in typer.main.get_command(app).params
        if own.name in kinds and not getattr(own, "is_flag", False)
    ]


def words(verb: str, values: dict[str, Any]) -> list[str]:
    options, arguments = [], []
    for own, _ in parameters(verb):
        if own.name not in values:
            continue
        if own.param_type_name == "argument":
            arguments.append(values[own.name])
        else:
            options += [max(own.opts, key=len), values[own.name]]
    return [*verb.split(), *options, "--", *arguments]


def mistakes(verb: str) -> Iterator[list[str]]:
    """Lines with one mistake each; of the wrong values every parameter has some, in turn."""
    good = GOOD[verb]
    yield [*words(verb, good), "one", "word", "too", "many"]
    yield [*verb.split(), "--colour", "red", *words(verb, good)[len(verb.split()) :]]
    for missing in good:
        yield words(verb, {name: value for name, value in good.items() if name != missing})
    turn = 0
    for own, kind in parameters(verb):
        if "Path" in kind or own.name in ("data", "images", "place"):
            wrong = PATHS
        elif "int" in kind or "float" in kind:
            wrong = NUMBERS
        elif verb in SLOW:
            continue
        else:
            wrong = WORDS
        for _ in range(3):
            turn += 1
            yield words(verb, good | {own.name: wrong[turn % len(wrong)]})


FAILING = {
    *("check", "serve", "dicomweb analyse", "dicomweb watch", "head-round fit", "demo"),
    *("head-round import", "edit add", "edit undo", "edit redo", "store rm", "keys show"),
    *("sign", "verify", "import peft", "import melo", "hub push", "hub pull", "run"),
}
"""Verbs whose `GOOD` words are too little to succeed."""


def stop(*_: object, **__: object) -> None:
    raise FailureError("instead of what takes long")


def test_every_verb_is_tried() -> None:
    assert GOOD.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_a_mistake_ends_in_a_sentence(verb, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDLEGO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for long in ("serve.serve_app", "serve.keep_watching", "cli.demo_run.run_demo"):
        monkeypatch.setattr(f"medlego.{long}", stop)
    place = tmp_path / "w"
    for number, line in enumerate(mistakes(verb)):
        if not place.exists() or number % 5 == 0:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(files, place, symlinks=True)
            monkeypatch.chdir(place)
        code = run_app(app, line)
        said = capsys.readouterr().err
        assert code in (0, 1, 2), line
        assert not re.search("unexpected|Traceback|report it|\x1b\\[31m", said), (line, said)
        assert code == 0 or len(said) > 20, line


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_document_or_none_beside_an_error(verb, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDLEGO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for long in ("serve.serve_app", "serve.keep_watching", "cli.demo_run.run_demo"):
        monkeypatch.setattr(f"medlego.{long}", stop)
    shutil.copytree(files, tmp_path / "w", symlinks=True)
    monkeypatch.chdir(tmp_path / "w")
    places = len(verb.split())
    line = words(verb, GOOD[verb])
    line[places:places] = ["--json", "result.json"]
    code = run_app(app, ["--json", *line])
    out = capsys.readouterr().out
    assert (code == 0) is (verb not in FAILING)
    assert bool(out) is Path("result.json").exists()
    if code == 0 or out:
        assert json.loads(out) == json.loads(Path("result.json").read_text())
