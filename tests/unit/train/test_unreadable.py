"""A file that cannot be read stops neither training nor what is scored on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from factories import make_base
from medlego.base import LEFT_OUT, Inputs
from medlego.data import Dataset, Samples, Task, fingerprint, load_dataset
from medlego.data.leaks.fingerprints import Fingerprints
from medlego.data.samples import FileImages
from medlego.errors import DatasetError, ImageError
from medlego.evaluation import check, evaluate
from medlego.generalist import assemble
from medlego.train import TrainSettings, search_coefficients, train_brick

BASE = make_base(depth=1)
TASK = Task(name="t", kind="binary", labels=("dark", "bright"))
BROKEN = {"cut": lambda b: b[: len(b) // 2], "empty": lambda _: b"", "text": lambda _: b"no image"}


def samples(path: Path, broken: dict[int, str], count: int = 12) -> Samples:
    path.mkdir(parents=True)
    files = []
    for number in range(count):
        files.append(path / f"{number}.png")
        pixels = np.random.default_rng(number).integers(0, 100, (16, 16)) + 140 * (number % 2)
        Pillow.fromarray(pixels.astype(np.uint8)).save(files[-1])
        if number in broken:
            files[-1].write_bytes(BROKEN[broken[number]](files[-1].read_bytes()))
    return Samples(FileImages(tuple(files)), np.arange(count) % 2)


@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["in memory", "decoded anew"])
@pytest.mark.parametrize(
    "broken", [{}, {0: "cut"}, {3: "empty", 11: "text"}, {4: "cut", 5: "cut", 6: "cut"}]
)
def test_inputs_leave_out_what_cannot_be_read(memory, broken, tmp_path):
    whole = samples(tmp_path / "a", broken)
    inputs = Inputs(whole.images, BASE, skip=True, memory_bytes=memory)
    rows = [i for i in range(12) if i not in broken]
    assert inputs.rows.tolist() == rows
    assert len(inputs) == len(rows)
    expected = torch.stack([BASE.prepare(whole.images[i]) for i in rows])
    assert torch.equal(torch.cat(list(inputs.batches(5))), expected)
    assert torch.equal(inputs.take([2, 0]), expected[[2, 0]])
    assert inputs.mended() == ({LEFT_OUT: len(broken)} if broken else {})
    assert len(inputs.notes()) == bool(broken)
    if broken:
        assert inputs.notes()[0].startswith(f"{len(broken)} of 12 images {LEFT_OUT}: ")


def test_samples_and_inputs_stay_side_by_side(tmp_path):
    kept, inputs = Inputs.of(samples(tmp_path / "a", {1: "cut", 4: "text"}), BASE)
    assert kept.labels.tolist() == [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    assert len(kept) == len(inputs) == 10


def test_where_none_can_be_read_the_first_says_why(tmp_path):
    with pytest.raises(ImageError, match=r"0\.png"):
        Inputs.of(samples(tmp_path / "a", dict.fromkeys(range(4), "cut"), count=4), BASE)


def test_unless_asked_to_skip_a_broken_image_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"2\.png"):
        Inputs(samples(tmp_path / "a", {2: "cut"}).images, BASE)


def test_training_evaluation_gate_and_leak_check_go_on(tmp_path):
    parts = {
        name: samples(tmp_path / name, broken, count=24)
        for name, broken in (
            ("train", {0: "cut", 7: "text"}),
            ("val", {1: "empty"}),
            ("test", {2: "cut"}),
        )
    }
    data = Dataset.of(TASK, parts)
    settings = TrainSettings(epochs=1, rank=2, profile=False)
    brick = train_brick(BASE, data, settings, device="cpu", checkpoint=tmp_path / "partial")
    assert brick.card.mended == {LEFT_OUT: 3}
    assert brick.card.images["train"] == {"dark": 11, "bright": 11}
    search = search_coefficients([brick], {"t": data}, "linear", values=[0.5], base=BASE)
    assert any("1 of 24 images cannot be read" in note for note in search.notes)
    generalist = assemble([brick])
    report = evaluate(generalist, {"t": data}, base=BASE, resamples=5)
    assert {row.images for row in report.rows} == {23}
    assert any("1 of 24 images cannot be read" in note for note in report.notes)
    gate = check(generalist, generalist, {"t": data}, base=BASE, resamples=5)
    assert gate.tasks[0].images == 23
    assert any("1 of 24 images cannot be read" in note for note in gate.notes)
    fingerprints = Fingerprints.of("t", data)
    assert len(fingerprints) == len(fingerprints.answers) == 68
    assert sum("left out, cannot be read" in note for note in fingerprints.notes) == 4
    assert {place.index for place in fingerprints.places if place.split == "val"} == (
        set(range(24)) - {1}
    )


def test_an_image_that_goes_away_later_is_an_error(tmp_path):
    whole = samples(tmp_path / "a", {3: "cut"})
    inputs = Inputs(whole.images, BASE, skip=True, memory_bytes=0)
    (tmp_path / "a" / "5.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"5\.png"):
        list(inputs.batches(4))


def test_a_label_of_which_nothing_can_be_read_is_refused(tmp_path):
    parts = {name: samples(tmp_path / name, {}) for name in ("val", "test")}
    parts["train"] = samples(tmp_path / "train", dict.fromkeys(range(0, 12, 2), "cut"))
    with pytest.raises(DatasetError, match="expected training images of dark that can be read"):
        train_brick(BASE, Dataset.of(TASK, parts), TrainSettings(epochs=1), device="cpu")


@pytest.mark.parametrize(
    ("names", "noted"),
    [
        (("site_a", "site_b"), True),
        (("Hospital 1", "Hospital 2", "Hospital 3"), True),
        (("patient001", "patient002"), True),
        (("fold0", "fold1"), True),
        (("site_a", "pneumonia"), False),
        (("cyst", "casein"), False),
        (("part-solid", "partial"), False),
    ],
)
def test_folders_that_look_like_sites_or_people_are_said_to_be_taken_for_classes(
    names, noted, tmp_path
):
    for name in names:
        samples(tmp_path / "d" / name, {})
    notes = load_dataset(tmp_path / "d").notes
    assert any("are taken for classes" in note for note in notes) == noted


def test_a_fingerprint_says_which_images_cannot_be_read(tmp_path):
    one, other = (samples(tmp_path / str(i), {i: "cut"}) for i in (0, 2))
    assert fingerprint(one) == fingerprint(samples(tmp_path / "same", {0: "text"}))
    assert fingerprint(one) != fingerprint(other)
