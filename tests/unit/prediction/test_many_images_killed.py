"""Kill -9 at places drawn by a seed: what is done stays, nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import batchkill
from batchparts import same_answers, save_merged, write_images

SEED = 7

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """The folder with all tables, and how the runs of each job ended."""
    place = tmp_path_factory.mktemp("killed")
    save_merged(place / "generalist")
    write_images(place / "images", 10)
    (place / "images" / "004.png").write_bytes(b"no image")
    (place / "out").mkdir()
    words = [place / "generalist", place / "images", place / "out", SEED]
    run = subprocess.run(
        [sys.executable, batchkill.__file__, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["changes"] > 20
    return place / "out", report["ends"]


def test_jobs_were_killed_once_and_twice_and_then_ended(killed):
    _, ends = killed
    assert len(ends) > 10
    for codes in ends.values():
        assert codes[-1] == 0
        assert signal.SIGKILL in codes
    assert max(map(len, ends.values())) == 3


def test_rows_are_those_of_the_unbroken_job(killed):
    place, ends = killed
    whole = pl.read_parquet(place / "whole.parquet")
    assert whole["position"].n_unique() == 10
    for name in ends:
        same_answers(pl.read_parquet(place / name), whole, 1e-5)


def test_nothing_else_is_left(killed):
    place, ends = killed
    assert {path.name for path in place.iterdir()} == {*ends, "whole.parquet", "changes"}
