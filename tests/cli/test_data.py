"""`medlego data check` and `remember`, and DATA as every verb takes it, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.data import SPLITS


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


def table(folder: Path, splits: str = "tttvvss", seeds: tuple[int, ...] = (), **more: str) -> Path:
    """One row an image; a column's letters are its cells."""
    numbers = seeds or tuple(range(len(splits)))
    columns = {"path": [f"{i}.png" for i in range(len(splits))]}
    for i, seed in enumerate(numbers):
        draw(folder / f"{i}.png", seed)
    names = dict(zip("tvs", SPLITS, strict=True))
    columns["split"] = [names[letter] for letter in splits]
    columns |= {"label": list(("ab" * len(splits))[: len(splits)])}
    columns |= {name: list(cells) for name, cells in more.items()}
    rows = [",".join(cells) for cells in zip(*columns.values(), strict=True)]
    path = folder / "pets.csv"
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def test_a_clean_data_set_passes(tmp_path, capsys):
    assert run("data", "check", table(tmp_path)) == 0
    assert "7 images: 0 pairs leak, 0 contradict each other in labels" in capsys.readouterr().out


def test_equal_images_across_splits_are_named_and_exit_with_1(tmp_path, capsys):
    path = table(tmp_path, seeds=(0, 1, 2, 3, 4, 0, 6))
    assert run("data", "check", path) == 1
    said = capsys.readouterr()
    assert "expected nothing on both sides, got 1 pairs that leak" in said.err
    assert "0.png and test" in said.out.replace("\n", "")


def test_a_patient_in_two_splits_is_reported_without_its_name(tmp_path, capsys):
    path = table(tmp_path, patient_id="PQRSTPU")
    assert run("--json", "data", "check", path) == 1
    said = capsys.readouterr()
    (pair,) = json.loads(said.out)["pairs"]
    assert (pair["kind"], pair["first"]["index"], pair["second"]["split"]) == ("patient", 0, "test")
    assert "P" not in said.err.replace(str(path), "")


def test_contradicting_labels_are_listed_and_are_no_leak(tmp_path, capsys):
    assert run("data", "check", table(tmp_path, seeds=(0, 0, 2, 3, 4, 5, 6))) == 0
    assert "contradicting labels: pixels: train" in capsys.readouterr().out


def test_the_report_is_written_as_json(tmp_path):
    path = table(tmp_path, seeds=(0, 1, 2, 3, 4, 0, 6))
    assert run("data", "check", path, "--json", tmp_path / "r.json") == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["images"], report["leaks"], report["conflicts"]) == (7, {"pixels": 1}, 1)


def test_two_data_sets_are_compared(tmp_path):
    first = table(tmp_path / "one")
    second = table(tmp_path / "two", seeds=(10, 11, 12, 13, 14, 0, 16))
    assert run("data", "check", first, second) == 1
    assert run("data", "check", second) == 0


@pytest.fixture
def seen(tmp_path: Path) -> tuple[Path, Path]:
    """A sidecar of a data set and its key."""
    sidecar, key = tmp_path / "pets.seen", tmp_path / "site.key"
    assert run("data", "remember", table(tmp_path / "old"), "-o", sidecar, "--key", key) == 0
    return sidecar, key


def test_images_trained_on_before_are_found(tmp_path, seen):
    sidecar, key = seen
    clean = table(tmp_path / "new", seeds=(10, 11, 12, 13, 14, 15, 16))
    words = ("--sidecar", sidecar, "--key", key)
    assert run("data", "check", clean, *words) == 0
    dirty = table(tmp_path / "new", seeds=(10, 11, 12, 13, 14, 15, 1))
    assert run("data", "check", dirty, *words) == 1


def test_whole_counts_every_image_as_tested(tmp_path, seen):
    sidecar, key = seen
    path = table(tmp_path / "new", seeds=(0, 11, 12, 13, 14, 15, 16))
    words = ("--sidecar", sidecar, "--key", key)
    assert run("data", "check", path, *words) == 0
    assert run("data", "check", path, *words, "--whole") == 1


def test_remember_keeps_train_and_val(tmp_path, capsys):
    words = ("-o", tmp_path / "s", "--key", tmp_path / "k")
    assert run("--json", "data", "remember", table(tmp_path), *words) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 5


def test_remember_overwrites_only_when_told(tmp_path, seen, capsys):
    sidecar, key = seen
    words = ("data", "remember", table(tmp_path / "old"), "-o", sidecar, "--key", key)
    assert run(*words) == 2
    assert "pass --force" in capsys.readouterr().err
    assert run(*words, "--force") == 0


def test_a_sidecar_without_its_key_is_bad_input(tmp_path, seen, capsys):
    assert run("data", "check", table(tmp_path), "--sidecar", seen[0]) == 2
    assert "pass --key" in capsys.readouterr().err


def test_a_missing_key_is_not_made_by_a_check(tmp_path, seen):
    words = ("--sidecar", seen[0], "--key", tmp_path / "other.key")
    assert run("data", "check", table(tmp_path), *words) == 2
    assert not (tmp_path / "other.key").exists()


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"path,label\nx.png,a,b\n"])
def test_a_broken_table_is_bad_input(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    assert run("data", "check", tmp_path / "x.csv") == 2


# DATA of every verb ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, a table elsewhere, labels renamed in training, and the brick's generalist."""
    place = tmp_path_factory.mktemp("work")
    rows = []
    (place / "scans").mkdir()
    for name, level in {"lo": 60, "hi": 160}.items():
        for i in range(12):
            pixels = np.random.default_rng(i).integers(level, level + 60, (32, 32), dtype=np.uint8)
            Pillow.fromarray(pixels).save(place / "scans" / f"{name}{i}.png")
            rows.append(f"{name}{i}.png,{name}")
    (place / "pets.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (place / "map.csv").write_text("from,to\nlo,low\nhi,high\n")
    brick = place / "pets.brick.safetensors"
    mapped = ("--labels-map", place / "map.csv", "--labels", "low,high")
    assert run("train", source(place), *mapped, "--epochs", 1, "-o", brick) == 0
    assert run("assemble", brick, "-o", place / "generalist") == 0
    return place


def source(work: Path) -> str:
    return f"{work / 'pets.csv'}@{work / 'scans'}"


def test_labels_are_renamed_in_training_and_in_evaluation(work, capsys):
    words = ("evaluate", work / "generalist", "--data", f"pets={source(work)}")
    assert run(*words) == 2
    assert "--labels-map" in capsys.readouterr().err
    assert run("--json", *words, "--labels-map", work / "map.csv", "--resamples", 100) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["images"] == 5


@pytest.mark.parametrize(
    "words",
    [
        "train {data} -o {new}",
        "adapt {dir} {data} -o {new}",
        "refit {brick} {data} --with {brick} -o {new}",
        "assemble {brick} --coefficients search --data pets={data} -o {new}",
        "evaluate {dir} --data pets={data}",
        "check {dir} --data pets={data} --against {dir}",
        "head-round fit {brick} {data} -o {new}",
        "data check {data}",
    ],
    ids=lambda words: words.partition(" {")[0],
)
def test_every_verb_that_takes_data_takes_a_table_of_labels(work, words, tmp_path, capsys):
    names = {
        "data": source(work),
        "dir": work / "generalist",
        "brick": work / "pets.brick.safetensors",
        "new": tmp_path / "new",
    }
    arguments = words.format(**names).split()
    assert run(*arguments, "--labels-map", tmp_path / "none.csv") == 2
    assert "none.csv: expected a table of labels, found nothing" in capsys.readouterr().err


def test_a_check_counts_labels_and_hints_at_a_misspelt_one(tmp_path, capsys):
    labels = [*["clear"] * 6, "claer"]
    path = table(tmp_path)
    header, *rows = path.read_text().splitlines()
    rows = [f"{row[:-1]}{label}" for row, label in zip(rows, labels, strict=True)]
    path.write_text("\n".join([header, *rows]))
    assert run("data", "check", path) == 0
    said = capsys.readouterr().out
    assert f"{path}: 1 claer, 6 clear\n" in said
    assert "note: " in said
    assert "label 'claer' (1) is almost 'clear' (6); where both mean the same" in said
