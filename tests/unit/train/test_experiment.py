"""An experiment in one TOML: checked whole, resumable to the byte; one failure costs one part."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from factories import make_base, make_dataset
from medlego.data import SPLITS, fingerprint
from medlego.errors import DatasetError, SettingsError
from medlego.evaluation import evaluate
from medlego.train import Experiment, run_experiment
from medlego.train.experiment_results import ExperimentResult, ExperimentScore

TOML = """
seeds = [0, 1]

[training]
epochs = 2
batch_size = 6
rank = 2
profile = false

[data.light]
source = "light.npz"
note = "noise"

[data.dark]
source = "dark.npz"
training = {epochs = 1}

[methods.linear]

[methods.sparse]
method = "ties"
settings = {density = 0.5}

[evaluation]
splits = ["val", "test"]
resamples = 100
"""


def edit_npz(path: Path, name: str, index: int) -> None:
    """Change one image, or the label of one."""
    with np.load(path) as stream:
        arrays = dict(stream)
    arrays[name][index] = 1 - arrays[name][index]
    np.savez(path, **arrays)


def write_npz(path: Path, seed: int) -> None:
    data = make_dataset(seed=seed)
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        samples = data.split(split)
        pixels = [samples.images[i].pixels.numpy() for i in range(len(samples))]
        arrays[f"{split}_images"] = (np.stack(pixels)[:, 0] * 255).astype(np.uint8)
        arrays[f"{split}_labels"] = samples.labels[:, None]
    np.savez(path, **arrays)


@pytest.fixture(scope="module", autouse=True)
def small_base():
    """A base of a moment, whatever the experiment asks for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "load_base", lambda *_: make_base())
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An experiment of two data sets, and its results."""
    place = tmp_path_factory.mktemp("whole")
    for seed, name in enumerate(("light", "dark")):
        write_npz(place / f"{name}.npz", seed)
    (place / "study.toml").write_text(TOML)
    assert run(place).failures == ()
    return place


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "finished"))


@pytest.fixture
def study(whole, tmp_path):
    """The same before it ran."""
    return Path(shutil.copytree(whole, tmp_path / "study", ignore=lambda *_: {"results"}))


def run(study, output="results", **more):
    return run_experiment(study / "study.toml", study / output, device="cpu", **more)


def content(folder: Path) -> dict[str, bytes]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def change(study, old, new):
    file = study / "study.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


class StoppedError(Exception):
    """Stands for a kill."""


def stop_once(seen, words):
    """A progress that stops a run at each step of these words, once."""

    def show(what, _done, _total):
        if what not in seen and any(word in what for word in words):
            seen.add(what)
            raise StoppedError

    return show


def test_an_experiment_killed_again_and_again_ends_with_the_same_bytes(study, whole):
    show = stop_once(set(), ("seed 1: epoch 2", "sparse, seed", "reading dark"))
    kills = 0
    while True:
        try:
            run(study, show=show)
            break
        except StoppedError:
            kills += 1
    assert kills >= 5
    assert content(study / "results") == content(whole / "results")


def test_the_folder_has_bricks_generalists_reports_and_tables(whole):
    files = set(content(whole / "results"))
    assert {
        "bricks/dark-seed1.brick.safetensors",
        "bricks/dark-seed1.epochs.csv",
        "experiment.toml",
        "reports/sparse-seed1-val.csv",
        "reports/sparse-seed1-val.json",
        "results.csv",
        "results.md",
        "versions.json",
    } <= files
    assert any(name.startswith("generalists/linear-seed0/") for name in files)


def test_the_csv_has_every_seed_method_split_and_task(whole):
    with (whole / "results" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(r["seed"], r["method"], r["split"], r["task"]) for r in rows} == {
        (seed, method, split, task)
        for seed in "01"
        for method in ("linear", "sparse")
        for split in ("val", "test")
        for task in ("light", "dark")
    }


def test_a_finished_experiment_is_left_as_it_is(finished, monkeypatch):
    before = content(finished / "results")

    def refuse(*_, **__):
        raise AssertionError("work is done anew")

    for work in ("evaluate", "train_brick", "assemble"):
        monkeypatch.setattr(f"medlego.train.experiment_run.{work}", refuse)
    assert run(finished).untouched
    assert content(finished / "results") == before


@pytest.mark.parametrize(
    ("array", "split"), [("train_images", "train"), ("val_images", "val"), ("test_labels", "test")]
)
def test_a_finished_experiment_whose_data_changed_is_refused_and_left(finished, array, split):
    before = content(finished / "results")
    edit_npz(finished / "dark.npz", array, 0)
    says = rf"results: data\.dark, {split}: expected the images and labels of these results, got"
    with pytest.raises(SettingsError, match=says):
        run(finished)
    assert content(finished / "results") == before


def test_settings_of_a_data_set_go_before_those_of_all(study):
    experiment = Experiment.load(study / "study.toml")
    assert experiment.settings("dark", 7).epochs == 1
    assert experiment.settings("light", 7).epochs == 2
    assert experiment.settings("light", 7).seed == 7


def test_another_experiment_in_the_same_folder_is_refused_with_what_differs(finished):
    change(finished, "epochs = 2", "epochs = 3")
    with pytest.raises(SettingsError, match=r"training.epochs: expected 2 as it was .* got 3"):
        run(finished)


def test_comments_may_change(finished):
    change(finished, "seeds = [0, 1]", "# two seeds\nseeds = [0, 1]")
    assert run(finished).untouched


def test_other_versions_do_not_go_on_with_what_was_begun(finished):
    (finished / "results" / "results.md").unlink()
    versions = finished / "results" / "versions.json"
    document = json.loads(versions.read_text())
    versions.write_text(json.dumps(document | {"torch": "1.0"}))
    with pytest.raises(SettingsError, match=r"torch: expected '1.0' as it was begun with"):
        run(finished)


def test_a_folder_with_something_else_is_refused(study):
    (study / "results").mkdir()
    (study / "results" / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="expected a new folder or this experiment's"):
        run(study)
    assert set(content(study / "results")) == {"thesis.txt"}


def test_a_data_set_that_fails_loses_nothing_else_and_is_tried_again(study, whole):
    good = (study / "dark.npz").read_bytes()
    (study / "dark.npz").write_bytes(b"not an archive")
    result = run(study)
    (failure,) = result.failures
    assert failure.startswith("data.dark: ")
    assert {score.task for score in result.scores} == {"light"}
    assert "data.dark" in (study / "results" / "results.md").read_text()
    (study / "dark.npz").write_bytes(good)
    again = run(study)
    assert again.failures == ()
    assert {score.task for score in again.scores} == {"light", "dark"}
    assert content(study / "results") == content(whole / "results")


def test_a_method_that_fails_loses_nothing_else(study):
    change(study, "seeds = [0, 1]", "seeds = [3]")
    change(study, 'method = "ties"\nsettings = {density = 0.5}', 'method = "regmean"')
    result = run(study)
    (failure,) = result.failures
    assert failure.startswith("methods.sparse, seed 3: ")
    assert {score.method for score in result.scores} == {"linear"}


def test_data_that_changed_under_way_are_refused(finished):
    (finished / "results" / "results.md").unlink()
    write_npz(finished / "dark.npz", 9)
    failures = run(finished).failures
    assert len(failures) == 2
    assert "expected the brick of these data and settings" in failures[0]


def test_one_training_image_that_changed_refuses_the_brick(finished):
    (finished / "results" / "results.md").unlink()
    edit_npz(finished / "dark.npz", "train_images", 1)
    (failure, _) = run(finished).failures
    path = finished / "results" / "bricks" / "dark-seed0.brick.safetensors"
    assert failure == (
        f"data.dark, seed 0: {path}: expected the brick of these data and settings, got "
        "another's; delete it to train it anew"
    )


def test_one_training_image_that_changed_refuses_a_brick_half_trained(study):
    with pytest.raises(StoppedError):
        run(study, show=stop_once(set(), ["light, seed 0: epoch 2"]))
    edit_npz(study / "light.npz", "train_images", 1)
    failure = run(study).failures[0]
    assert "light-seed0.brick.safetensors.partial: expected the brick of these data" in failure


def test_test_labels_that_were_corrected_make_every_report_of_them_anew(finished, monkeypatch):
    (finished / "results" / "results.md").unlink()
    edit_npz(finished / "dark.npz", "test_labels", 0)
    evaluated, read = Mock(wraps=evaluate), Mock(wraps=fingerprint)
    monkeypatch.setattr("medlego.train.experiment_run.evaluate", evaluated)
    monkeypatch.setattr("medlego.train.experiment_run.fingerprint", read)
    assert run(finished).failures == ()
    assert [call.kwargs["split"] for call in evaluated.call_args_list] == ["test"] * 4
    assert read.call_count == 6


@pytest.mark.parametrize("key", ["resamples", "seed"])
def test_a_report_of_other_draws_is_made_anew(finished, whole, key):
    (finished / "results" / "results.md").unlink()
    report = finished / "results" / "reports" / "linear-seed0-test.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {key: 7}))
    run(finished)
    assert content(finished / "results") == content(whole / "results")


def test_all_problems_of_an_experiment_stand_in_one_error(study):
    change(study, 'source = "light.npz"', 'source = "none.npz"\nkind = "guess"')
    change(study, "epochs = 2", "epochs = 0\nspeed = 1")
    change(study, "density = 0.5", "density = 7")
    change(study, "[methods.linear]", '[methods.linear]\ncoefficients = "best"\nmode = "fast"')
    with pytest.raises(SettingsError) as caught:
        run(study)
    message = str(caught.value)
    for part in (
        "data.light.source: expected a path that exists, found nothing at 'none.npz'",
        "data.light.kind",
        "epochs",
        "speed",
        "methods.sparse: method 'ties': density",
        "methods.linear: coefficients",
        "methods.linear: mode",
    ):
        assert part in message
    assert not (study / "results").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds = [0, 1]", "seeds = [1, 1]", "seeds: expected each once"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ("rank = 2", "seed = 2", "expected in seeds, got it here"),
        ("[methods.sparse]", "[methods.LINEAR]", "differ in more than case"),
        ("[data.light]", '[data."../light"]', "../light"),
        ('"val", "test"', '"train"', "evaluation.splits"),
        ("resamples", "draws", "draws"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(study, old, new, says):
    change(study, old, new)
    with pytest.raises(SettingsError, match=says.replace("[", r"\[").replace(".", r"\.")):
        Experiment.load(study / "study.toml")


def test_paths_are_relative_to_the_file(study, monkeypatch):
    monkeypatch.chdir("/")
    data = Experiment.load(study / "study.toml").read("light", study, lambda *_: None)
    assert data.task.name == "light"


def test_the_label_table_may_lie_elsewhere_than_its_images(study):
    change(study, 'source = "light.npz"', 'source = "light.csv"\nimages = "scans"')
    (study / "light.csv").write_text("path,label\na.png,x\n")
    (study / "scans").mkdir()
    with pytest.raises(DatasetError, match="scans"):
        Experiment.load(study / "study.toml").read("light", study, lambda *_: None)


def score(seed, method, model, value, split="test", task="t"):
    return ExperimentScore(
        seed, method, split, task, model, "balanced_accuracy", value, None, None, 9
    )


def test_the_table_has_the_mean_over_tasks_then_seeds_and_specialists_once(tmp_path):
    scores = (
        score(0, "a", "generalist", 0.5),
        score(0, "a", "generalist", 0.7, task="u"),
        score(1, "a", "generalist", 0.8),
        score(1, "a", "generalist", 0.8, task="u"),
        score(0, "a", "specialist", 0.9),
        score(0, "a", "specialist", 0.9, task="u"),
        score(0, "b", "generalist", None),
        score(0, "b", "generalist", 0.5, task="u"),
        score(0, "b", "specialist", 0.1),
        score(0, "b", "specialist", 0.1, task="u"),
    )
    columns, rows = ExperimentResult(tmp_path, scores, ()).table()
    assert columns == ("method", "model", "seeds", "test")
    assert rows == [
        ("a", "generalist", "2", "0.700 [0.600–0.800]"),
        ("b", "generalist", "1", "undefined"),
        ("(no merge)", "specialist", "1", "0.900"),
    ]


def test_a_seed_that_lacks_a_task_is_not_in_the_mean_and_the_table_says_so(tmp_path):
    scores = (
        score(0, "a", "generalist", 0.5),
        score(0, "a", "generalist", 0.7, task="u"),
        score(1, "a", "generalist", 0.9),
        score(1, "b", "generalist", None),
    )
    _, rows = ExperimentResult(tmp_path, scores, ()).table()
    assert rows == [
        ("a", "generalist", "2", "0.600 (1 of 2 seeds)"),
        ("b", "generalist", "1", "none (0 of 1 seeds)"),
    ]


def test_a_split_that_lacks_a_seed_says_so(tmp_path):
    scores = (
        score(0, "a", "generalist", 0.5),
        score(1, "a", "generalist", 0.7),
        score(0, "a", "generalist", 0.5, split="val"),
    )
    _, rows = ExperimentResult(tmp_path, scores, ()).table()
    assert rows == [("a", "generalist", "2", "0.600 [0.500–0.700]", "0.500 (1 of 2 seeds)")]
