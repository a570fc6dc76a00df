"""Grams taken after training: equal to those of a hook, repeatable, and refused for few images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from factories import make_base, make_dataset
from medlego.bricks import Brick, brick_bytes, brick_from_bytes
from medlego.data import Dataset
from medlego.errors import SettingsError
from medlego.generalist import specialist
from medlego.train import TrainSettings, train_brick

SETTINGS = TrainSettings(epochs=2, batch_size=32, rank=2, learning_rate=0.05, gram=5)
BASE = make_base()


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(images=70)


@pytest.fixture(scope="module")
def brick(data: Dataset) -> Brick:
    return train_brick(BASE, data, SETTINGS, device="cpu")


class StoppedError(Exception):
    """Stands for a kill."""


def hooked(brick: Brick, data: Dataset, module: str) -> np.ndarray:
    """Every input of a module, image by image, through the specialist."""
    model, seen = specialist(brick).fold(BASE), []
    hook = model.get_submodule(module).register_forward_hook(
        lambda _module, inputs, _output: seen.append(inputs[0][0].double().numpy())
    )
    for number in range(len(data.train)):
        pixels = BASE.prepare(data.train.images[number])
        model(BASE.normalise(pixels[None]))
    hook.remove()
    return np.concatenate(seen)


def test_each_module_has_one_gram(brick: Brick) -> None:
    assert list(brick.grams) == ["blocks.0.attn.qkv", "blocks.1.attn.qkv"]
    assert {(gram.directions, gram.images) for gram in brick.grams.values()} == {(5, 70)}


@pytest.mark.parametrize("module", ["blocks.0.attn.qkv", "blocks.1.attn.qkv"])
def test_a_gram_is_that_of_the_inputs_which_the_trained_model_sees(
    brick: Brick, data: Dataset, module: str
) -> None:
    X = hooked(brick, data, module)
    assert X.shape == (70 * 5, 24)
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    gram = brick.grams[module]
    V, eigenvalues = gram.vectors.double().numpy(), gram.values.double().numpy()
    np.testing.assert_allclose(eigenvalues, values[:-6:-1], rtol=1e-5, atol=0)
    np.testing.assert_allclose(float(gram.rest), values[:-5].mean(), rtol=1e-5, atol=0)
    leading = vectors[:, -5:]
    np.testing.assert_allclose(
        (V * eigenvalues) @ V.T, (leading * values[-5:]) @ leading.T, rtol=0, atol=1e-4 * values[-1]
    )


def test_the_second_module_sees_what_the_first_delta_does(brick: Brick, data: Dataset) -> None:
    still = replace(brick, deltas={n: replace(d, S=0 * d.S) for n, d in brick.deltas.items()})
    before, after = (hooked(b, data, "blocks.1.attn.qkv") for b in (still, brick))
    assert np.abs(before - after).max() > 1e-3


def test_same_seed_gives_the_same_bytes(brick: Brick, data: Dataset) -> None:
    again = train_brick(make_base(), data, SETTINGS, device="cpu")
    assert brick_bytes(again) == brick_bytes(brick)


def test_grams_change_nothing_else(brick: Brick, data: Dataset) -> None:
    plain = train_brick(BASE, data, SETTINGS.model_copy(update={"gram": 0}), device="cpu")
    assert replace(brick, grams={}).digest == plain.digest
    assert "gram" not in plain.settings


def test_a_trained_brick_survives_its_file(brick: Brick) -> None:
    assert brick_from_bytes(brick_bytes(brick), "x").digest == brick.digest


def test_a_run_killed_while_grams_are_taken_goes_on_to_the_same_brick(
    brick: Brick, data: Dataset, tmp_path
) -> None:
    def stop(what: str, _done: int, _total: int) -> None:
        if what == "input statistics":
            raise StoppedError

    path = tmp_path / "state"
    with pytest.raises(StoppedError):
        train_brick(BASE, data, SETTINGS, checkpoint=path, device="cpu", show=stop)
    resumed = train_brick(BASE, data, SETTINGS, checkpoint=path, device="cpu")
    assert resumed.digest == brick.digest
    assert not path.exists()


def test_a_run_begun_without_grams_can_end_with_them(brick: Brick, data: Dataset, tmp_path) -> None:
    def stop(what: str, _done: int, _total: int) -> None:
        if what.startswith("epoch 2 "):
            raise StoppedError

    path, plain = tmp_path / "state", SETTINGS.model_copy(update={"gram": 0})
    with pytest.raises(StoppedError):
        train_brick(BASE, data, plain, checkpoint=path, device="cpu", show=stop)
    assert train_brick(BASE, data, SETTINGS, checkpoint=path, device="cpu").digest == brick.digest


def test_more_directions_than_inputs_are_all_there_are(data: Dataset) -> None:
    settings = SETTINGS.model_copy(update={"gram": 1024, "epochs": 1})
    (gram, _) = train_brick(BASE, data, settings, device="cpu").grams.values()
    assert gram.directions == 24
    assert float(gram.rest) == 0


def test_few_images_are_refused_before_training() -> None:
    shown: list[str] = []
    with pytest.raises(
        SettingsError, match=r"^gram: expected at least 50 training images, got 49; "
    ):
        train_brick(
            BASE,
            make_dataset(images=49),
            SETTINGS,
            device="cpu",
            show=lambda what, *_: shown.append(what),
        )
    assert shown == []


def test_fifty_images_are_enough() -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1})
    assert train_brick(BASE, make_dataset(images=50), settings, device="cpu").grams
