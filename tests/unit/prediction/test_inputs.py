"""What a person would pass: images, generalists, bricks and data sets in every form."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image as Pillow

from factories import make_base, make_bricks, make_dataset, make_images
from medlego import assemble, evaluate, predict, train_brick
from medlego.bricks import save_brick
from medlego.data import Dataset, Samples, Task
from medlego.data.samples import FileImages
from medlego.errors import (
    BaseError,
    BrickError,
    DatasetError,
    GeneralistError,
    ImageError,
)
from medlego.images import from_array
from medlego.prediction import Answer, Prediction
from medlego.train import TrainSettings

BASE = make_base()
GREYS = [np.full((16, 16), 40 * i, np.uint8) for i in range(1, 4)]
GENERALIST = assemble(make_bricks(("a", "b"), BASE))


def probs(predictions):
    return [[answer.probs for answer in one.answers] for one in predictions]


@pytest.fixture
def folder(tmp_path):
    for number, grey in enumerate(GREYS):
        Pillow.fromarray(grey).save(tmp_path / f"{number}.png")
    return tmp_path


def ask(images, **more):
    return predict(GENERALIST, images, base=BASE, **more)


def test_images_in_every_form_get_the_same_answers(folder):
    paths = [folder / f"{n}.png" for n in range(3)]
    (folder / "list.csv").write_text("path\n" + "".join(f"{path.name}\n" for path in paths))
    stack = np.stack(GREYS)
    expected = probs(ask(paths))
    for form in (
        list(map(str, paths)),
        np.array(list(map(str, paths))),
        np.array(paths),
        pd.Series(list(map(str, paths))),
        pl.Series(list(map(str, paths))),
        folder,
        str(folder),
        [folder],
        folder / "list.csv",
        GREYS,
        tuple(map(Pillow.fromarray, GREYS)),
        [from_array(grey) for grey in GREYS],
        stack[:, None],
        list(stack),
        torch.from_numpy(stack)[..., None],
        iter(GREYS),
        [paths[0], GREYS[1], Pillow.fromarray(GREYS[2])],
    ):
        assert probs(ask(form)) == expected


def test_a_split_is_asked_image_by_image():
    arrays = Dataset.from_arrays(np.stack(GREYS * 4), list("abc") * 4, task="task").train
    assert probs(ask(arrays)) == probs(ask([arrays.images[n] for n in range(len(arrays))]))
    assert [one.image for one in ask(arrays)][:2] == ["image 1", "image 2"]


def test_an_image_of_a_split_that_cannot_be_read_has_a_problem(folder):
    (folder / "broken.png").write_bytes(b"")
    files = FileImages((folder / "0.png", folder / "broken.png"))
    good, bad = ask(Samples(files, np.zeros(2, np.int64)))
    assert good.problem is None
    assert "broken.png" in str(bad.problem)


@pytest.mark.parametrize("one", [GREYS[0], Pillow.fromarray(GREYS[0]), from_array(GREYS[0])])
def test_one_image_is_many_of_one(one):
    (prediction,) = ask(one)
    assert prediction.image == "image 1"
    assert probs([prediction]) == probs(ask([one]))


def test_a_stack_of_greys_is_as_many_images_and_colours_are_one():
    assert len(ask(np.zeros((9, 16, 16), np.uint8))) == 9
    assert len(ask(torch.zeros(9, 16, 16))) == 9
    assert len(ask(np.zeros((4, 16, 16)))) == 4
    for one in (torch.zeros(3, 16, 16), np.zeros((16, 16, 3)), np.zeros((1, 16, 16))):
        assert len(ask(one)) == 1


def test_files_keep_their_paths_for_names(folder):
    assert [p.image for p in ask(folder)] == [str(folder / f"{n}.png") for n in range(3)]
    assert [p.image for p in ask([str(folder / "1.png")])] == [str(folder / "1.png")]


def test_an_answer_shows_its_labels_and_no_numbers():
    task = Task(name="lung", kind="multilabel", labels=("mass", "node", "scar"))
    found, clear = Answer(task, (0.9, 0.2, 0.8)), Answer(task, (0.1, 0.2, 0.3))
    assert repr(found) == "Answer(lung: mass, scar)"
    assert repr(Prediction("DOE.png", (), (found, clear))) == (
        "Prediction(lung: mass, scar; lung: none of its labels)"
    )
    assert repr(Prediction("DOE.png", (), ())) == "Prediction(no answer)"
    assert repr(Prediction("DOE.png", (), (), problem="x")) == "Prediction(not read)"


def test_a_bad_array_among_good_ones_has_a_problem():
    good, bad = ask([GREYS[0], np.full((8, 8), 7.0)])
    assert good.problem is None
    assert str(bad.problem).startswith("image 2: expected floats in [0, 1], got 7 to 7")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (None, ImageError, "image 1: expected an array, a tensor or a Pillow picture, got None"),
        ("gone.png", ImageError, "gone.png: expected an image file, found nothing there"),
        (np.stack(GREYS), ImageError, r"expected an array that reads one way, got \(3, 16, 16\)"),
        (np.zeros((16, 16, 4)), ImageError, r"one or three channels, got \(16, 16, 4\); convert"),
        (torch.zeros(4, 16, 16), ImageError, r"one or three channels, got \(4, 16, 16\); conv"),
        (torch.zeros(16, 16, 2), ImageError, r"one or three channels, got \(16, 16, 2\); conv"),
        ("", ImageError, "images: expected a path, got an empty text"),
        (make_dataset(), ImageError, "expected one split, got a Dataset; pass its train, val or t"),
        ("gone.csv", DatasetError, "gone.csv: expected .* found nothing there"),
    ],
)
def test_what_holds_no_image_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        ask(images)


def test_an_empty_folder_is_refused_and_an_empty_list_has_no_answers(tmp_path):
    with pytest.raises(DatasetError, match="expected images, found none"):
        ask(tmp_path)
    assert ask([]) == []


def test_predictions_are_a_list():
    predictions = ask(GREYS)
    assert predictions == list(predictions)
    assert predictions[-1] is list(predictions)[2]
    assert type(predictions[1:]) is type(predictions)
    assert predictions[1:].bricks == predictions.bricks
    assert repr(predictions) == "Predictions(<3 items>)"


def test_a_generalist_may_be_its_directory(tmp_path):
    GENERALIST.save(tmp_path / "g")
    assert probs(predict(tmp_path / "g", GREYS, base=BASE)) == probs(ask(GREYS))
    data = {"a": make_dataset("a")}
    by_path = evaluate(str(tmp_path / "g"), data, base=BASE, resamples=5)
    assert by_path.as_dict() == evaluate(GENERALIST, data, base=BASE, resamples=5).as_dict()


@pytest.mark.parametrize("wrong", [None, 3, [GENERALIST]])
def test_another_generalist_is_refused(wrong):
    with pytest.raises(GeneralistError, match="expected a Generalist or its directory, got"):
        predict(wrong, GREYS, base=BASE)


def test_bricks_may_be_files_or_a_folder_of_them(tmp_path):
    bricks = make_bricks(("a", "b"), BASE)
    for brick in bricks:
        save_brick(brick, tmp_path / f"{brick.task.name}.brick.safetensors")
    (tmp_path / ".b.brick.safetensors").write_bytes(b"begun")
    digest = assemble(bricks).recipe.digest
    first, second = (tmp_path / f"{name}.brick.safetensors" for name in "ab")
    for form in (tmp_path, str(tmp_path), [first, str(second)], [bricks[0], second], iter(bricks)):
        assert assemble(form).recipe.digest == digest
    assert assemble(bricks[0]).recipe.digest == assemble([first]).recipe.digest


def test_bricks_of_nothing_are_refused(tmp_path):
    with pytest.raises(BrickError, match=r"expected brick files \(.safetensors\), found none"):
        assemble(tmp_path)
    with pytest.raises(BrickError, match="expected bricks, brick files or a folder of them"):
        assemble([cast(Any, None)])
    with pytest.raises(BrickError, match="gone: expected a brick file, found nothing there"):
        assemble(tmp_path / "gone")


def dataset_folder(place):
    generator = np.random.default_rng(0)
    for number in range(24):
        at = place / ("train", "val", "test")[number // 8] / ("ill", "well")[number % 2]
        at.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 99, (64, 64)) + 99 * (number % 2)
        Pillow.fromarray(pixels.astype(np.uint8)).save(at / f"{number}.png")
    return place


def test_training_and_evaluating_take_names_and_paths(tmp_path):
    folder = dataset_folder(tmp_path / "skin")
    settings = TrainSettings(epochs=1, rank=1, profile=False)
    brick = train_brick("mini", folder, settings, device="cpu")
    assert (brick.base.name, brick.task.labels) == ("mini", ("well", "ill")[::-1])
    report = evaluate(assemble(brick), {"skin": str(folder)}, resamples=5)
    assert {row.task for row in report.rows} == {"skin"}


def test_other_bases_and_data_are_refused():
    with pytest.raises(BaseError, match="base: expected a Base or its name, got NoneType"):
        train_brick(cast(Any, None), make_dataset())
    with pytest.raises(DatasetError, match="data: expected a Dataset or a path, got list"):
        train_brick(BASE, cast(Any, make_images(2)))
    with pytest.raises(DatasetError, match="expected data sets by task's name, got list"):
        evaluate(GENERALIST, cast(Any, [make_dataset()]), base=BASE)


def test_a_base_may_be_its_name_and_another_is_refused():
    with pytest.raises(GeneralistError, match=r"base: expected tiny .* got mini"):
        predict(GENERALIST, GREYS, base="mini")


def test_a_predictor_answers_as_predict_does_again_and_again():
    predictor = GENERALIST.predictor(BASE)
    for more in ({}, {"task": "b"}, {"every_task": True}):
        assert predictor(GREYS, **more) == ask(GREYS, **more)
    assert GENERALIST.predictor(BASE, mode="merged")(GREYS) == ask(GREYS, mode="merged")
    with pytest.raises(GeneralistError, match="task: expected one of a, b, got 'c'"):
        predictor(GREYS, task="c")
