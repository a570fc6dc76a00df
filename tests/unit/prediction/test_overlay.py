"""Overlays: the image stays readable, colours mean what the legend says, names do not collide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from factories import make_base, make_brick
from medlego.data import Task
from medlego.errors import SettingsError
from medlego.generalist import specialist
from medlego.images import Image, from_array
from medlego.prediction import Saliency, draw_answers, empty_folder, overlay, predict
from medlego.prediction.saliency.overlay import AGAINST, FOR, OPACITY, SMALLEST_SIDE, save_overlay
from medlego.prediction.saliency.pictures import picture_names

TASK = Task(name="chest", kind="binary", labels=("clear", "naïve"))


def saliency(patches, shape=(40, 60), method="gradient"):
    return Saliency(TASK, "naïve", 0.875, method, torch.tensor(patches).float(), 16, shape)


def grey(level=0.5, shape=(40, 60)):
    return Image(torch.full((1, *shape), level))


def test_an_overlay_is_as_large_as_its_image():
    assert overlay(grey(), saliency([[0, 1], [0, 0]])).shape == (40, 60, 3)


def test_no_evidence_leaves_the_grey_image():
    rgb = overlay(grey(0.4), saliency([[0, 0], [0, 0]]))
    np.testing.assert_array_equal(rgb, np.full((40, 60, 3), 102))


@pytest.mark.parametrize(("sign", "colour"), [(1, FOR), (-1, AGAINST)])
def test_the_strongest_evidence_has_the_colour_of_its_sign(sign, colour):
    rgb = overlay(grey(), saliency([[sign, 0], [sign, 0]]))
    wanted = np.round((1 - OPACITY) * 127.5 + OPACITY * colour)
    np.testing.assert_allclose(rgb[20, 0], wanted, atol=1)
    np.testing.assert_allclose(rgb[20, -1], 128, atol=1)


def test_rollout_runs_from_its_least_to_its_most():
    rgb = overlay(grey(), saliency([[0.3, 0.2], [0.3, 0.2]], method="rollout"))
    np.testing.assert_allclose(rgb[20, -1], 128, atol=1)
    assert rgb[20, 0, 0] > rgb[20, 0, 2] + 50


def test_a_colour_image_is_shown_in_its_greys():
    pixels = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 40, 60)
    rgb = overlay(Image(pixels), saliency([[0, 0], [0, 0]]))
    np.testing.assert_array_equal(rgb[0, 0], [76, 76, 76])


def test_the_picture_is_the_overlay_with_a_legend_below(tmp_path):
    image, evidence = grey(shape=(400, 500)), saliency([[0, 1], [-1, 0]], (400, 500))
    save_overlay(image, evidence, tmp_path / "x.png")
    with Pillow.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 500
    np.testing.assert_array_equal(pixels[:400], overlay(image, evidence))
    assert len(pixels) > 440
    assert (pixels[400:] < 128).any()


def test_the_file_says_its_task_label_method_and_scale_and_nothing_else(tmp_path):
    save_overlay(grey(), saliency([[0, 1], [-0.5, 0]]), tmp_path / "x.png")
    with Pillow.open(tmp_path / "x.png") as picture:
        picture.load()
        assert picture.info == {
            "Description": "chest: naïve 0.875 · gradient; full colour: 1 log odds a patch; "
            "orange for, blue against"
        }


def test_a_small_image_is_enlarged_by_a_whole_number(tmp_path):
    image, evidence = grey(shape=(28, 28)), saliency([[0, 1], [-1, 0]], (28, 28))
    save_overlay(image, evidence, tmp_path / "x.png")
    with Pillow.open(tmp_path / "x.png") as picture:
        assert picture.width == 28 * 12 >= SMALLEST_SIDE
        small = picture.crop((0, 0, 336, 336)).resize((28, 28), Pillow.Resampling.NEAREST)
    np.testing.assert_array_equal(np.asarray(small), overlay(image, evidence))


def test_a_picture_has_the_same_bytes_twice(tmp_path):
    for name in ("x.png", "y.png"):
        save_overlay(grey(), saliency([[0, 1], [-1, 0]]), tmp_path / name)
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "y.png").read_bytes()


def test_names_do_not_collide_and_hold_no_folder():
    inputs = [("anna/1.png", "a"), ("bert/1.png", "a"), ("1.PNG", "a"), ("1.png", "b")]
    assert picture_names(inputs, "rollout") == [
        "1.png.a.rollout.png",
        "1.png.a.rollout-2.png",
        "1.PNG.a.rollout-3.png",
        "1.png.b.rollout.png",
    ]


def test_a_filled_folder_is_refused(tmp_path):
    (tmp_path / "old.png").write_bytes(b"")
    with pytest.raises(SettingsError, match="expected an empty folder, got a filled one"):
        empty_folder(tmp_path)
    with pytest.raises(SettingsError, match="expected a place for a folder"):
        empty_folder(tmp_path / "old.png")


def test_one_picture_is_drawn_for_every_answer(tmp_path):
    base = make_base()
    generalist = specialist(make_brick(base=base))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30), dtype=np.uint8)
        Pillow.fromarray(pixels).save(path)
    predictions = predict(generalist, paths, base=base)
    empty_folder(tmp_path / "maps")
    written = draw_answers(generalist, predictions, tmp_path / "maps", base=base)
    assert [p.name for p in written] == ["a.png.task.gradient.png", "b.png.task.gradient.png"]
    with Pillow.open(written[1]) as picture:
        picture.load()
        (answer,) = predictions[1].answers
        assert f"{answer.labels[0]} {max(answer.probs):.3f}" in picture.info["Description"]


def test_an_image_read_from_an_array_can_be_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert overlay(from_array(pixels), saliency([[0, 1], [0, 0]])).dtype == np.uint8
