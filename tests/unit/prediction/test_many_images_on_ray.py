"""The same job on Ray: two processes on this machine, one of which is killed."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import batchray
from batchparts import same_answers, save_merged, write_images
from medlego.errors import JobError, SettingsError
from medlego.prediction import predict_many
from medlego.prediction.batch.listing import JobPart
from medlego.prediction.batch.ray_engine import _cores_for_each, _results


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generalist, images of which one cannot be read, and the table made without Ray."""
    work = tmp_path_factory.mktemp("ray")
    save_merged(work / "generalist")
    write_images(work / "images", 12)
    (work / "images" / "004.png").write_bytes(b"no image")
    predict_many(work / "generalist", work / "images", work / "whole.parquet")
    return work


@pytest.fixture(scope="module")
def report(place: Path) -> dict[str, object]:
    """What the jobs on Ray came to."""
    pytest.importorskip("ray")
    environment = {
        "HOME": str(place),
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    words = (place / "generalist", place / "images", place)
    run = subprocess.run(
        [sys.executable, batchray.__file__, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    document: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return document


def test_a_job_begun_here_ends_on_ray_though_an_actor_is_killed(place, report):
    assert report["actors"] == 2
    assert report["before"] == batchray.PARTS
    assert report["done"] == [4, 6, 8, 10, 12]
    table = pl.read_parquet(place / "begun.parquet")
    same_answers(table, pl.read_parquet(place / "whole.parquet"), 1e-5)
    assert not (place / "begun.parquet.job").exists()


def test_an_actors_error_is_told_as_it_is(place, report):
    assert report["error"].startswith("base 'mini' from")
    assert "nothing.safetensors: expected a safetensors file" in report["error"]
    assert not (place / "failed.parquet").exists()


def test_without_ray_the_way_to_it_is_told(place, tmp_path, monkeypatch):
    imported = builtins.__import__

    def without_ray(name: str, *words: Any, **more: Any) -> object:
        if name == "ray":
            raise ImportError(name)
        return imported(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(SettingsError, match=r"pip install 'medlego\[ray\]'"):
        predict_many(place / "generalist", place / "images", tmp_path / "o.parquet", engine="ray")
    assert not list(tmp_path.glob("o.parquet*"))


def test_an_actor_asks_for_no_more_cores_than_its_node_has():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 240.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}},
    ]
    assert _cores_for_each(nodes) == 2
    assert _cores_for_each([{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 8.0}}]) == 1


class FakeRay:
    """Actors of which some never get a process; a reference says whether it will be done, and what
    comes of it."""

    def actor(self, runs: bool) -> SimpleNamespace:
        return SimpleNamespace(
            ready=SimpleNamespace(remote=lambda: (runs, None, object())),
            answer=SimpleNamespace(remote=lambda part: (runs, (part.number, b""), object())),
        )

    def wait(self, refs: list, timeout: float | None) -> tuple[list, list]:
        done = [ref for ref in refs if ref[0]][:1]
        assert done or timeout is not None, "waits for ever"
        return done, []

    def get(self, ref: tuple) -> object:
        return ref[1]


@pytest.mark.parametrize("runs", [(True, False), (False, True, False), (True, True)])
def test_actors_without_a_process_get_no_parts(runs):
    ray = FakeRay()
    parts = (JobPart(number, number, ("x",)) for number in range(7))
    done = _results(ray, [ray.actor(each) for each in runs], parts)
    assert sorted(number for number, _ in done) == list(range(7))


def test_a_cluster_without_room_for_any_actor_ends_the_job():
    ray = FakeRay()
    parts = (JobPart(number, number, ("x",)) for number in range(7))
    with pytest.raises(JobError, match="expected room for an actor within 600 s, got none"):
        list(_results(ray, [ray.actor(False)], parts))
