"""The verbs as a user runs them, on the embedded mini base and very small data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import medlego
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.data import KINDS
from medlego.errors import FailureError
from medlego.generalist import Generalist
from medlego.merge import METHODS


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def write_classes(folder: Path, classes: tuple[str, ...], seed: int, count: int = 12) -> Path:
    """A folder per class: darker and brighter noise."""
    generator = np.random.default_rng(seed)
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(60 * level, 60 * level + 90, (64, 64), dtype=np.uint8)
            Pillow.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, a brick of each and their generalist, made by the commands."""
    place = tmp_path_factory.mktemp("work")
    write_classes(place / "chest", ("clear", "opaque"), 0)
    write_classes(place / "brain", ("none", "small", "large"), 1)
    for name, modality in (("chest", "DX"), ("brain", "MR")):
        brick = place / f"{name}.brick.safetensors"
        words = ("--modality", modality, "--epochs", 2, "--batch-size", 8, "-o", brick)
        assert run("train", place / name, *words) == 0
    bricks = [place / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    assert run("assemble", *bricks, "-o", place / "generalist") == 0
    return place


@pytest.fixture(scope="module")
def sites(work: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bricks of the task brain: that of `work`, and one with a new label for one of its own."""
    place = tmp_path_factory.mktemp("sites")
    write_classes(place / "brain", ("none", "large", "other"), 2)
    brick = place / "brain.brick.safetensors"
    words = ("--modality", "MR", "--epochs", 1, "--batch-size", 8, "-o", brick)
    assert run("train", place / "brain", *words) == 0
    return work / "brain.brick.safetensors", brick


def data_flags(work: Path) -> list[object]:
    return ["--data", f"chest={work / 'chest'}", "--data", f"brain={work / 'brain'}"]


@pytest.mark.parametrize("split", ["test", "all"])
def test_a_test_set_from_outside_is_evaluated_without_a_probe(work, tmp_path, capsys, split):
    files = sorted((work / "chest").rglob("*.png"))
    rows = [f"{path},{path.parent.name},test" for path in files]
    (tmp_path / "chest.csv").write_text("\n".join(["path,label,split", *rows]))
    words = ("evaluate", work / "generalist", "--data", f"chest={tmp_path / 'chest.csv'}")
    assert run(*words, "--split", split, "--resamples", 100) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{len(files)}" in said
    assert "no probe: it is fitted to training and validation images" in said
    assert run(*words, "--split", "val") == 2
    assert "expected images in split 'val', got none" in " ".join(capsys.readouterr().err.split())


def test_train_names_the_task_after_its_data(work, capsys):
    assert run("--json", "inspect", work / "brain.brick.safetensors") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["task"]["name"] == "brain"
    assert facts["task"]["labels"] == ["large", "none", "small"]
    assert facts["task"]["modality"] == "MR"


def test_two_classes_make_a_binary_task(work, capsys):
    run("--json", "inspect", work / "chest.brick.safetensors")
    assert json.loads(capsys.readouterr().out)[0]["task"]["kind"] == "binary"


def test_train_leaves_only_the_brick(work):
    assert not list(work.glob("*.partial"))


def test_train_overwrites_only_when_told(work, capsys):
    brick = work / "chest.brick.safetensors"
    assert run("train", work / "chest", "-o", brick) == 2
    assert "pass --force" in capsys.readouterr().err


def test_train_takes_settings_from_toml(work, tmp_path, capsys):
    (tmp_path / "s.toml").write_text("head_rate = 0.01\nrank = 1\nepochs = 1\n")
    out = tmp_path / "x.brick.safetensors"
    words = ("--settings", tmp_path / "s.toml", "--rank", 2, "-o", out)
    assert run("--json", "train", work / "chest", *words) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["head_rate"], settings["rank"], settings["epochs"]) == (0.01, 2, 1)
    again = ("--settings", tmp_path / "s.toml", "--force", "-o", out)
    assert run("--json", "train", work / "chest", *again) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["rank"] == 1


def test_an_unknown_setting_is_refused(work, tmp_path, capsys):
    (tmp_path / "s.toml").write_text("speed = 9\n")
    out = tmp_path / "x.brick.safetensors"
    assert run("train", work / "chest", "--settings", tmp_path / "s.toml", "-o", out) == 2
    assert "speed" in capsys.readouterr().err
    assert not out.exists()


def test_plain_lora_is_recorded(work, tmp_path, capsys):
    out = tmp_path / "x.brick.safetensors"
    words = ("--plain-lora", "--epochs", 1, "--targets", "q,k,proj", "--stem", 4, "-o", out)
    assert run("--json", "train", work / "chest", *words) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["parametrisation"] == "lora"


def test_kept_views_are_recorded(work, tmp_path, capsys):
    out = tmp_path / "x.brick.safetensors"
    words = ("--views", 2, "--stem", 4, "--epochs", 1, "-o", out)
    assert run("--json", "train", work / "chest", *words) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["views"] == 2


def test_a_manifest_with_patients_trains_an_ordinal_task(work, tmp_path, capsys):
    rows = ["path,label,patient_id"]
    for number, name in enumerate(("none", "small", "large")):
        rows += [
            f"{work / 'brain' / name / f'{i}.png'},{name},{number}-{i // 2}" for i in range(12)
        ]
    (tmp_path / "grades.csv").write_text("\n".join(rows))
    out = tmp_path / "x.brick.safetensors"
    words = ("--kind", "ordinal", "--labels", "none,small,large", "--epochs", 1, "-o", out)
    assert run("--json", "train", tmp_path / "grades.csv", *words) == 0
    task = json.loads(capsys.readouterr().out)["task"]
    assert (task["kind"], task["labels"]) == ("ordinal", ["none", "small", "large"])


def test_inspect_shows_the_count_and_its_share(work, capsys):
    run("inspect", work / "brain.brick.safetensors")
    text = capsys.readouterr().out
    assert "18,480" in text
    assert "0.680%" in text


def test_inspect_shows_a_generalist(work, capsys):
    assert run("inspect", work / "generalist") == 0
    text = capsys.readouterr().out
    assert "chest" in text
    assert "0.7071" in text


def test_assemble_takes_method_coefficients_and_rank(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    words = ("--method", "lego", "--coefficients", "0.3,0.6", "--rank", 2, "-o", tmp_path / "g")
    assert run("--json", "assemble", *bricks, *words) == 0
    report = json.loads(capsys.readouterr().out)
    assert [b["coefficient"] for b in report["recipe"]["bricks"]] == [0.3, 0.6]
    assert 0 < report["relative_loss"] < 1
    assert Generalist.load(tmp_path / "g").recipe.digest == report["digest"]


def test_assemble_takes_settings_of_the_method(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    words = ("--method", "core-ties", "--set", "density=0.5", "--svc", "-o", tmp_path / "g")
    assert run("--json", "assemble", *bricks, *words) == 0
    recipe = json.loads(capsys.readouterr().out)["recipe"]
    assert (recipe["settings"], recipe["svc"]) == ({"density": 0.5}, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "density=0"), "density: expected more than 0.0, got 0"),
        (("--set", "speed=1"), "speed: expected a known key, got 'speed'; known are density"),
        (("--set", "density"), "--set: expected NAME=NUMBER, got 'density'"),
        (("--coefficients", "nan"), "coefficients: expected finite numbers"),
        (("--rank", "0"), "rank: expected at least 1, got 0"),
        (("--sites", "size"), "sites: expected one of auto, counts, equal, got 'size'"),
        (("--method", "best"), "method: expected one of linear, lego, ties"),
    ],
)
def test_assemble_refuses_bad_settings_in_one_line(work, tmp_path, capsys, words, says):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    assert run("assemble", *bricks, "--method", "ties", *words, "-o", tmp_path / "g") == 2
    text = " ".join(capsys.readouterr().err.split())
    assert says in text
    assert not (tmp_path / "g").exists()


def test_assemble_names_every_method_in_its_help(capsys):
    run("assemble", "--help")
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    for name in METHODS:
        assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize("verb", ["train", "adapt", "data check", "data remember"])
def test_every_kind_of_task_stands_in_the_help(capsys, verb):
    run(*verb.split(), "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert ", ".join(KINDS) in text


def test_bricks_trained_with_gram_are_merged_by_regmean(tmp_path, capsys):
    bricks = [tmp_path / f"{name}.brick.safetensors" for name in ("left", "right")]
    for seed, brick in enumerate(bricks):
        data = write_classes(tmp_path / brick.name[:4], ("low", "high"), seed, count=40)
        assert run("train", data, "--epochs", 1, "--gram", 3, "-o", brick) == 0
    assert run("assemble", *bricks, "--method", "regmean", "-o", tmp_path / "g") == 0
    capsys.readouterr()
    assert run("--json", "inspect", bricks[0]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert set(facts["grams"].values()) == {3}
    run("inspect", bricks[0])
    assert "3 directions, 56 images" in capsys.readouterr().out


def test_gram_of_few_images_is_refused_in_one_line(work, tmp_path, capsys):
    out = tmp_path / "x.brick.safetensors"
    assert run("train", work / "chest", "--gram", 8, "-o", out) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "gram: expected at least 50 training images, got" in text
    assert not list(tmp_path.iterdir())


def test_regmean_of_bricks_without_grams_is_refused_in_one_line(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    assert run("assemble", *bricks, "--method", "regmean", "-o", tmp_path / "g") == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "expected bricks with Grams, got none in chest, brain; retrain with --gram 8" in text


def test_sites_of_one_task_become_one_capability(work, sites, tmp_path, capsys):
    bricks = (*sites, work / "chest.brick.safetensors")
    assert run("assemble", *bricks, "--sites", "counts", "-o", tmp_path / "g") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "brain: 2 sites, 4 labels together" in shown
    assert run("--json", "inspect", tmp_path / "g") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    brain, chest = facts["tasks"]
    assert brain["labels"] == ["large", "none", "small", "other"]
    assert [site["weight"] for site in brain["sites"]] == [0.5, 0.5]
    assert [site["weight"] for site in chest["sites"]] == [1.0]
    assert facts["recipe"]["sites"] == "counts"
    assert run("inspect", tmp_path / "g") == 0
    assert "its sites' mean" in " ".join(capsys.readouterr().out.split())
    image = work / "brain" / "large" / "0.png"
    assert run("predict", tmp_path / "g", image, "--task", "brain") == 0
    assert "other" in capsys.readouterr().out
    data = ("--data", f"brain={work / 'brain'}", "--resamples", 100)
    assert run("evaluate", tmp_path / "g", *data) == 0
    assert "the specialist of brain is the mean of its 2 sites" in capsys.readouterr().out


def test_inspect_tells_sites_of_one_task_apart(sites, capsys):
    assert run("--json", "inspect", *sites) == 0
    first, second, compared = json.loads(capsys.readouterr().out)
    (pair,) = compared["pairs"]
    assert pair["first"] == f"brain {first['digest'][:12]}"
    assert pair["second"] == f"brain {second['digest'][:12]}"
    assert (pair["same_task"], pair["collides"]) == (True, False)


def test_inspect_compares_several_bricks(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    assert run("inspect", *bricks, "--plot", tmp_path / "x.png") == 0
    assert "chest · brain" in capsys.readouterr().out
    with Pillow.open(tmp_path / "x.png") as picture:
        assert picture.format == "PNG"
    assert run("--json", "inspect", *bricks) == 0
    assert json.loads(capsys.readouterr().out)[-1]["type"] == "comparison"


def test_inspect_has_nothing_to_plot_of_one_brick(work, tmp_path, capsys):
    words = ("--plot", tmp_path / "x.png")
    assert run("inspect", work / "chest.brick.safetensors", *words) == 2
    assert "--plot: expected at least two bricks" in capsys.readouterr().err


def test_a_head_round_goes_out_and_comes_back(work, tmp_path, capsys):
    out, head = tmp_path / "round", tmp_path / "brain.head.safetensors"
    assert run("head-round", "export", work / "generalist", "-o", out) == 2
    assert "expected a generalist that works merged, got routed" in capsys.readouterr().err
    bricks = [work / f"{name}.brick.safetensors" for name in ("brain", "chest")]
    generalist = tmp_path / "merged"
    assert run("assemble", *bricks, "--mode", "merged", "-o", generalist) == 0
    assert run("head-round", "export", generalist, "-o", out) == 0
    models = sorted(path.name for path in out.iterdir())
    assert models == ["brain.round.brick.safetensors", "chest.round.brick.safetensors"]
    model = out / "brain.round.brick.safetensors"
    assert run("head-round", "fit", model, work / "brain", "-o", head) == 0
    words = (generalist, head, "-o", tmp_path / "g")
    assert run("head-round", "import", *words) == 0
    assert "no longer data-free" in capsys.readouterr().out
    assert run("inspect", tmp_path / "g") == 0
    assert "refitted" in capsys.readouterr().out
    assert (
        run("head-round", "fit", work / "brain.brick.safetensors", work / "brain", "-o", head) == 2
    )
    assert "expected a merged model from medlego head-round export" in capsys.readouterr().err


def test_a_head_is_refitted_for_a_merge_and_absent_bricks_are_named(work, sites, tmp_path, capsys):
    own, other = (work / f"{name}.brick.safetensors" for name in ("brain", "chest"))
    new = tmp_path / "brain.brick.safetensors"
    assert run("refit", own, work / "brain", "--with", other, "--with", own, "-o", new) == 0
    printed = capsys.readouterr().out
    assert "merged" in printed
    assert "balanced accuracy" in printed
    assert run("assemble", new, other, "-o", tmp_path / "met") == 0
    assert "was refitted without" not in capsys.readouterr().out
    _, newcomer = sites
    assert run("inspect", new, other, newcomer) == 0
    assert re.search(r"head of brain \w+ was refitted without brain", capsys.readouterr().out)


def test_refit_needs_other_bricks_and_overwrites_nothing(work, tmp_path, capsys):
    own = work / "brain.brick.safetensors"
    new = tmp_path / "new.brick.safetensors"
    assert run("refit", own, work / "brain", "--with", own, "-o", new) == 2
    assert "others: expected bricks besides the one to refit" in capsys.readouterr().err
    other = work / "chest.brick.safetensors"
    assert run("refit", own, work / "brain", "--with", other, "-o", other) == 2
    assert "expected a new file, found one" in " ".join(capsys.readouterr().err.split())


def test_a_new_task_is_learnt_from_a_generalist_and_added(work, tmp_path, capsys):
    write_classes(tmp_path / "skin", ("mole", "melanoma"), 3)
    brick, facts = tmp_path / "skin.brick.safetensors", tmp_path / "adapt.json"
    words = ("--start", "plain", "--start", "merged", "--epochs", 1, "--modality", "DMS")
    generalist = tmp_path / "generalist"
    shutil.copytree(work / "generalist", generalist)
    assert run("adapt", generalist, tmp_path / "skin", *words, "--cut", 4, "-o", brick) == 0
    printed = capsys.readouterr().out
    assert "start" in printed
    assert "truncation lost" in printed
    assert [file.name for file in tmp_path.glob("*.partial*")] == []
    assert run("adapt", generalist, tmp_path / "skin", *words, "-o", brick) == 2
    assert "expected a new file, found one" in capsys.readouterr().err
    assert run("edit", "add", generalist, brick) == 0
    assert [task.name for task in Generalist.load(generalist).tasks] == ["chest", "brain", "skin"]
    assert run("adapt", generalist, tmp_path / "skin", "--start", "warm", "-o", facts) == 2
    assert "starts: expected distinct ones out of plain" in capsys.readouterr().err


def test_head_round_export_overwrites_nothing(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("brain", "chest")]
    generalist, out = tmp_path / "merged", tmp_path / "out"
    assert run("assemble", *bricks, "--mode", "merged", "-o", generalist) == 0
    out.mkdir()
    (out / "brain.round.brick.safetensors").write_bytes(b"mine")
    assert run("head-round", "export", generalist, "-o", out) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["brain.round.brick.safetensors"]


def test_assemble_names_every_damaged_brick(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"no brick")
    assert run("assemble", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "g") == 2
    text = capsys.readouterr().err
    assert str(tmp_path / "a") in text
    assert str(tmp_path / "b") in text
    assert not (tmp_path / "g").exists()


def test_evaluate_writes_table_json_and_picture(work, tmp_path, capsys):
    words = ("--json", tmp_path / "r.json", "--plot", tmp_path / "r.png", "--resamples", 100)
    assert run("evaluate", work / "generalist", *data_flags(work), *words) == 0
    assert "normalised balanced accuracy" in capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert {row["task"] for row in report["rows"]} == {"chest", "brain"}
    with Pillow.open(tmp_path / "r.png") as picture:
        assert picture.format == "PNG"


def test_evaluate_needs_task_equals_data(work, capsys):
    assert run("evaluate", work / "generalist", "--data", "chest") == 2
    assert "expected TASK=DATA, got 'chest'" in capsys.readouterr().err


def test_predict_prints_every_task(work, capsys):
    image = work / "brain" / "large" / "0.png"
    assert run("predict", work / "generalist", image, "--every-task") == 0
    text = capsys.readouterr().out
    for word in ("chest", "brain", "opaque", "small"):
        assert word in text


def test_predict_asks_the_tasks_that_an_image_looks_like(work, tmp_path, capsys):
    images = work / "brain" / "large" / "0.png", tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(images[1])
    assert run("predict", work / "generalist", *images, "--json", tmp_path / "p.json") == 0
    assert f"no answer: {images[1]}: like no task's training images" in capsys.readouterr().out
    assert run("predict", work / "generalist", images[0], "--task", "chest") == 0
    output = capsys.readouterr().out
    mine, foreign = json.loads((tmp_path / "p.json").read_text())
    wrong = mine["route"]["tasks"] == ["brain"]
    assert (f"note: {images[0]}: is routed to brain, not to chest" in output) == wrong
    assert [a["task"] for a in mine["answers"]] == mine["route"]["tasks"]
    assert foreign["answers"] == []
    assert foreign["route"]["none"] > 0.99


def test_of_many_images_predict_prints_only_what_is_answered(work, capsys):
    image = next((work / "chest").rglob("*.png"))
    for copies, labels in ((10, 20), (11, 11)):
        assert run("predict", work / "generalist", *[image] * copies, "--task", "chest") == 0
        out = capsys.readouterr().out
        assert len(re.findall(r"\b[01]\.\d{3}\b", out)) == labels
        assert ("only what is answered is shown" in out) == (copies > 10)


def test_predict_gives_json_for_one_task(work, tmp_path):
    image = work / "brain" / "large" / "0.png"
    words = ("--task", "brain", "--json", tmp_path / "p.json")
    assert run("predict", work / "generalist", image, *words) == 0
    (prediction,) = json.loads((tmp_path / "p.json").read_text())
    (answer,) = prediction["answers"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_quiet_prints_nothing(work, capsys):
    image = work / "brain" / "large" / "0.png"
    assert run("predict", work / "generalist", image, "--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inspect", "{}/nothing"), "found nothing there"),
        (("predict", "{}/nothing", "x.png"), "no generalist.json"),
        (("predict", "{}/generalist", "{}/nothing.png"), "found nothing there"),
        (("predict", "{}/generalist", "{}/chest.brick.safetensors"), "DICOM or NIfTI image"),
        (("predict", "{}/generalist", "x.png", "--task", "liver"), "expected one of chest, brain"),
        (("train", "{}/nothing", "-o", "{}/x"), "found nothing there"),
        (("train", "{}/chest", "-o", "{}/no/x"), "expected a folder"),
        (("train", "{}/chest", "-o", "{}/x", "--kind", "fuzzy"), "expected one of multiclass"),
        (("train", "{}/chest", "-o", "{}/x", "--rank", "0"), "rank"),
        (("train", "{}/chest", "-o", "{}/x", "--base", "resnet50"), "vision transformer"),
        (("train", "{}/chest", "-o", "{}/x", "--image-size", "60"), "patch of 8 px divides"),
        (("train", "{}/chest", "-o", "{}/x", "--base-weights", "{}/nothing"), "nothing there"),
        (("assemble", "{}/chest.brick.safetensors", "-o", "{}/brain"), "new directory"),
        (("fly",), "medlego: fly: expected a known command; see medlego -h"),
        (("trian",), "trian: expected a known command, such as train; see medlego -h"),
        (("train",), "medlego: DATA: expected a value, got none; see medlego train -h"),
        (("train", "x"), "--output / -o: expected a value, got none; see medlego train -h"),
        (("train", "x", "-o"), "medlego: -o: expected a value, got none"),
        (("train", "x", "--zz"), "medlego: --zz: expected a known option; see medlego train -h"),
        (("train", "x", "--epoch"), "--epoch: expected a known option, such as --epochs; see"),
        (("train", "x", "--force=3"), "medlego: --force: expected no value, got one"),
        (("card", "a", "b"), "medlego: expected no further words, got: b; see medlego card -h"),
        (("train", "--epochs", "x", "a"), "--epochs: expected a whole number, got 'x'; see medl"),
        (("check", "--resamples", "3", "a"), "--resamples: expected at least 100, got '3'; see"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(work, capsys, words, says):
    assert run(*(word.format(work) for word in words)) == 2
    text = capsys.readouterr().err
    assert says in text
    assert text.startswith("medlego: ")
    assert text.count("\n") == 1


def test_a_failure_is_exit_1_and_debug_shows_the_traceback(work, capsys, monkeypatch):
    def fail(_path):
        raise FailureError("it failed")

    monkeypatch.setattr("medlego.bricks.file.load_brick", fail)
    assert run("inspect", work / "chest.brick.safetensors", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith(f"medlego {medlego.__version__}, sources ")


def test_search_needs_data_and_says_what_it_found(work, tmp_path, capsys):
    bricks = [work / f"{name}.brick.safetensors" for name in ("chest", "brain")]
    search = ("--coefficients", "search", "-o", tmp_path / "g")
    assert run("assemble", *bricks, *search) == 2
    assert "--data: expected with --coefficients search" in capsys.readouterr().err
    data = ("--data", f"brain={work / 'brain'}")
    assert run("assemble", *bricks, "-o", tmp_path / "g", *data) == 2
    assert run("assemble", *bricks, *search, "--data", "liver=x") == 2
    assert "expected tasks out of chest, brain, got liver" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "g").exists()
    assert run("--json", "assemble", *bricks, *search, *data) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recipe"]["coefficients"] == "search"
    chosen = report["recipe"]["bricks"][0]["coefficient"]
    scores = {float(value): tasks["brain"] for value, tasks in report["search"].items()}
    assert scores[chosen] == max(scores.values())


def test_a_second_round_goes_on_from_a_brick_among_others(work, tmp_path, capsys):
    own, stranger = (work / f"{name}.brick.safetensors" for name in ("chest", "brain"))
    facts = {}
    for path in (own, stranger):
        assert run("--json", "inspect", path) == 0
        (facts[path],) = json.loads(capsys.readouterr().out)
    settings = facts[own]["settings"]
    out = tmp_path / "second.brick.safetensors"
    words = ["--with", stranger, "--start", own, "--epochs", 1]
    words += ["--rank", settings["rank"]]
    assert run("--json", "train", work / "chest", *words, "-o", out) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["merge_aware"]
    assert report["settings"]["start"] == facts[own]["digest"]
    assert report["settings"]["company_bricks"] == [facts[stranger]["digest"]]
    assert "balanced_accuracy_in_merge" in report["validation"]


GATES = {
    "loose": "[default]\nmax_loss = 1\nmax_subgroup_loss = 1\nmin_task_images = 3\n",
    "hard": "min_images = 2\n",
}


@pytest.fixture
def gates(work: Path, tmp_path: Path) -> Path:
    """A copy of the generalist, and two gates: one lets everything pass, one wants 101 %."""
    shutil.copytree(work / "generalist", tmp_path / "g")
    for name, text in GATES.items():
        (tmp_path / f"{name}.toml").write_text(text)
    hard = '[task.chest]\nmax_loss = 0\nmin_score = 1.0\nscore = "auroc"\n'
    with (tmp_path / "hard.toml").open("a") as stream:
        stream.write(hard)
    return tmp_path


def test_a_check_shows_the_change_and_passes(work, gates, capsys):
    words = ("--against", work / "generalist", "--gate", gates / "loose.toml")
    assert run("--json", "check", gates / "g", *data_flags(work), *words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert [task["task"] for task in report["tasks"]] == ["chest", "brain"]
    assert report["tasks"][0]["change"]["value"] == 0


def test_an_edit_that_breaks_a_gate_is_not_made_and_one_that_passes_is_recorded(
    work, gates, capsys
):
    before = Generalist.load(gates / "g").lineage
    data = ("--data", f"chest={work / 'chest'}")
    base = ("edit", "remove", gates / "g", "brain", *data, "--gate")
    flipped = gates / "flipped"
    shutil.copytree(work / "chest", flipped)
    (flipped / "clear").rename(flipped / "x")
    (flipped / "opaque").rename(flipped / "clear")
    (flipped / "x").rename(flipped / "opaque")
    wrong = ("--data", f"chest={flipped}", "--gate", gates / "hard.toml")
    assert run("edit", "remove", gates / "g", "brain", *wrong) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert Generalist.load(gates / "g").lineage == before
    assert run(*base, gates / "loose.toml") == 0
    gate = Generalist.load(gates / "g").lineage[-1].gate
    assert gate is not None
    assert gate["passed"]
    assert [task["task"] for task in gate["tasks"]] == ["chest"]


def test_a_gate_without_data_is_refused(gates, capsys):
    assert run("edit", "remove", gates / "g", "brain", "--gate", gates / "loose.toml") == 2
    assert "--gate and --data: expected both or neither" in capsys.readouterr().err


def test_a_manifest_can_name_groups(work, gates, capsys):
    rows = ["path,label,group_site"]
    for name in ("clear", "opaque"):
        rows += [f"{work / 'chest' / name / f'{i}.png'},{name},{'ab'[i % 2]}" for i in range(12)]
    (gates / "chest.csv").write_text("\n".join(rows))
    (gates / "loose.toml").write_text(GATES["loose"].replace("[", "min_images = 2\n[", 1))
    words = ("--against", work / "generalist", "--gate", gates / "loose.toml", "--split", "all")
    data = ("--data", f"chest={gates / 'chest.csv'}")
    assert run("--json", "check", gates / "g", *data, *words) == 0
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["worst_subgroup"]["name"] == "site a"
    assert task["worst_subgroup"]["images"] == 12


def test_a_brick_goes_to_peft_and_back(work, tmp_path, capsys):
    brick, folder = work / "chest.brick.safetensors", tmp_path / "adapter"
    assert run("export", "peft", brick, "-o", folder) == 0
    assert run("export", "peft", brick, "-o", folder) == 2
    assert "expected a new folder" in capsys.readouterr().err
    words = ["--base", "mini", "--task-name", "chest", "--labels", "clear,opaque"]
    back = tmp_path / "back.brick.safetensors"
    assert run("import", "peft", folder, *words, "-o", back) == 0
    assert run("import", "peft", folder, *words, "-o", back) == 2
    assert "pass --force" in capsys.readouterr().err
    assert run("--json", "inspect", brick, back) == 0
    first, second, compared = json.loads(capsys.readouterr().out)
    assert first["targets"] == second["targets"]
    assert compared["pairs"][0]["total_cosine"] == pytest.approx(1, abs=1e-4)
    assert second["settings"]["imported"] == "peft"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--labels", "clear"), "expected at least 2 for a multiclass task"),
        (("--labels", "clear,opaque", "--kind", "magic"), "kind: "),
        (("--labels", "clear,opaque", "--base", "nothing"), "expected a timm model's name"),
    ],
)
def test_an_import_that_cannot_be_is_refused(work, tmp_path, capsys, words, says):
    brick, folder = work / "chest.brick.safetensors", tmp_path / "adapter"
    assert run("export", "peft", brick, "-o", folder) == 0
    words = ("--base", "mini", "--task-name", "chest", *words, "-o", tmp_path / "x.safetensors")
    assert run("import", "peft", folder, *words) == 2
    assert says in capsys.readouterr().err


def test_a_melo_file_needs_an_alpha_of_at_least_its_rank(tmp_path, capsys):
    words = ("--base", "mini", "--task-name", "t", "--labels", "a,b,c", "-o", tmp_path / "x")
    assert run("import", "melo", tmp_path / "none", *words, "--alpha", 4) == 2
    assert "found nothing there" in capsys.readouterr().err


def test_a_generalist_is_exported_whole(work, tmp_path, capsys):
    assert run("export", "timm", work / "generalist", "-o", tmp_path / "timm") == 0
    assert run("export", "onnx", work / "generalist", "-o", tmp_path / "onnx") == 0
    for folder in ("timm", "onnx"):
        facts = json.loads((tmp_path / folder / "labels.json").read_text())
        assert [task["name"] for task in facts["tasks"]] == ["chest", "brain"]
    assert "onnxruntime's answers agree" in capsys.readouterr().out
