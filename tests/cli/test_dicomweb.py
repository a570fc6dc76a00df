"""`medlego dicomweb`: what it prints, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from dicomfiles import dataset
from dicomwebsite import dicomweb_site
from factories import make_brick
from medlego.base import Base
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.generalist import assemble
from waiting import PATIENCE_S


@pytest.fixture
def site():
    with dicomweb_site() as archive:
        yield archive


@pytest.fixture
def directory(tmp_path):
    assemble([make_brick("chest", 1, base=Base.load("mini"))]).save(tmp_path / "generalist")
    return tmp_path / "generalist"


def add(site, number=1, **elements):
    array = np.random.default_rng(number).integers(0, 255, (20, 24), dtype=np.uint8)
    stated = {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "DX",
        "PatientName": "Doe^Jane",
        "PatientID": "P-1",
    }
    return site.add(dataset(array, **(stated | elements)))


def run(verb, directory, site, *arguments):
    return run_app(app, ["dicomweb", verb, str(directory), "--url", site.url, *map(str, arguments)])


def watched(tmp_path, text='modality = ["DX"]\nwithin_days = 0\n'):
    (tmp_path / "rule.toml").write_text(text)
    return (
        *("--rule", tmp_path / "rule.toml"),
        *("--state", tmp_path / "state"),
        *("--saliency", "none"),
        "--once",
    )


def test_a_study_is_answered_and_shown_without_its_patient(site, directory, capsys):
    add(site)
    assert run("analyse", directory, site, "--study", "1.2.3") == 0
    said = capsys.readouterr()
    assert "chest" in said.out
    assert "stored 2 objects" in said.out
    assert "Doe" not in said.out + said.err
    assert "P-1" not in said.out + said.err


def test_the_answers_can_be_had_as_json(site, directory, tmp_path):
    uid = add(site)
    arguments = ("--study", "1.2.3", "--saliency", "none", "--json", tmp_path / "out.json")
    assert run("analyse", directory, site, *arguments) == 0
    (outcome,) = json.loads((tmp_path / "out.json").read_text())
    assert outcome["instance"] == uid
    assert outcome["results"] == site.results()
    assert outcome["prediction"]["answers"][0]["task"] == "chest"


def test_a_study_without_a_readable_image_fails(site, directory, capsys):
    add(site, BitsAllocated=7)
    assert run("analyse", directory, site, "--study", "1.2.3") == 1
    assert "expected an image that can be answered" in capsys.readouterr().err


def test_a_watch_says_how_many_it_answered(site, directory, tmp_path, capsys):
    add(site)
    add(site, 2, SeriesInstanceUID="1.2.3.5", Modality="CR")
    assert run("watch", directory, site, *watched(tmp_path)) == 0
    assert "1 answered, 0 refused, 0 left out" in capsys.readouterr().out
    assert run("watch", directory, site, *watched(tmp_path)) == 0
    assert "0 answered" in capsys.readouterr().out


def test_a_watch_says_that_nothing_fits_its_rule(site, directory, tmp_path, capsys):
    add(site, Modality="CR")
    words = watched(tmp_path, 'modality = ["DX", "MG"]\nwithin_days = 5\n')
    assert run("watch", directory, site, *words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"note: no new DX/MG images of the last 5 days fit {tmp_path / 'rule.toml'}" in said


CODE = "import sys; sys.argv[0] = 'medlego'; from medlego.cli import main; main()"


def test_a_watch_that_is_stopped_ends_though_the_archive_never_answers(directory, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as archive:
        url = f"http://127.0.0.1:{archive.getsockname()[1]}/dicom-web"
        *words, _once = watched(tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, "dicomweb", "watch", directory, "--url", url, *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        archive.settimeout(PATIENCE_S)
        with archive.accept()[0]:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "stopped; in the journal: nothing" in out


def test_a_wrong_rule_and_a_wrong_address_are_bad_input(site, directory, tmp_path, capsys):
    assert run("watch", directory, site, *watched(tmp_path, 'modality = "DX"\n')) == 2
    assert "modality" in capsys.readouterr().err
    site.url = "http://archive.example"
    assert run("watch", directory, site, *watched(tmp_path)) == 2
    assert "--allow-http" in capsys.readouterr().err


def test_an_archive_that_is_away_fails_a_single_look(site, directory, tmp_path, capsys):
    site.statuses = [503]
    assert run("watch", directory, site, *watched(tmp_path)) == 1
    assert "got 503" in capsys.readouterr().err


def test_without_the_extra_it_is_named(site, directory, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert run("analyse", directory, site, "--study", "1.2.3") == 2
    assert "pip install 'medlego[dicomweb]'" in capsys.readouterr().err
