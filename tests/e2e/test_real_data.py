"""The whole way on real images: two specialists become a generalist that beats chance on both."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from medlego import (
    Base,
    Generalist,
    TrainSettings,
    assemble,
    evaluate,
    load_brick,
    predict,
    save_brick,
    train_brick,
)
from medlego.data import ArrayImages, TaskHints
from medlego.data.readers.npz import read_npz
from medlego.errors import BaseError

NAME = "deit_tiny_patch16_224"
SETS = {"busi_us": "US", "wbc_zheng": "SM"}
SETTINGS = TrainSettings(epochs=4, batch_size=16)


@pytest.fixture
def weights(shared):
    return shared / "bases" / f"{NAME}.fp16.safetensors"


def test_specialists_become_a_generalist_that_beats_chance_on_each_task(shared, weights, tmp_path):
    base = Base.load(NAME, weights=weights, image_size=64)
    base.keep()
    datasets, paths = {}, []
    for name, modality in SETS.items():
        data = read_npz(shared / "data" / f"{name}.npz", TaskHints(modality=modality))
        few = np.arange(0, len(data.train), 2)
        datasets[name] = type(data)(data.task, data.train.take(few), data.val, data.test)
        brick = train_brick(base, datasets[name], SETTINGS, checkpoint=tmp_path / "state")
        save_brick(brick, tmp_path / f"{name}.brick.safetensors")
        paths.append(tmp_path / f"{name}.brick.safetensors")
    assemble([load_brick(path) for path in paths]).save(tmp_path / "generalist")
    generalist = Generalist.load(tmp_path / "generalist")

    report = evaluate(generalist, datasets, base=Base.find(generalist.base), resamples=200)
    for row in report.rows:
        chance = 1 / len(datasets[row.task].task.labels)
        if row.model in ("generalist", "specialist"):
            assert row.scores["balanced_accuracy"].value > chance + 0.1
            assert row.scores["auroc"].low > 0.5

    images = datasets["busi_us"].test.images
    assert isinstance(images, ArrayImages)
    Pillow.fromarray(images.array[0]).save(tmp_path / "scan.png")
    (prediction,) = predict(generalist, [tmp_path / "scan.png"])
    assert [answer.task.name for answer in prediction.answers] == ["busi_us"]
    assert prediction.answers[0].labels[0] in datasets["busi_us"].task.labels


def test_the_real_base_is_known_by_its_fingerprint_at_any_size(weights):
    refs = [Base.load(NAME, weights=weights, image_size=size).ref for size in (None, 96)]
    assert refs[0].fingerprint == refs[1].fingerprint
    assert (refs[0].image_size, refs[1].image_size) == (224, 96)
    assert refs[0].parameters == 5_524_416


def test_the_real_weights_are_not_another_architectures(weights):
    with pytest.raises(BaseError, match="another architecture"):
        Base.load("vit_small_patch16_224", weights=weights)
