"""Predictions: one answer per task, the same however images are batched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dicomfiles import dataset, write
from factories import make_base, make_bricks, make_images
from medlego.base import BATCH
from medlego.data import KINDS, Task
from medlego.errors import GeneralistError, ImageError
from medlego.generalist import assemble
from medlego.prediction import Answer, predict


def generalist_of_all_kinds(base):
    return assemble(make_bricks(KINDS, base, of_kinds=True))


def test_every_task_answers_every_image():
    base = make_base()
    predictions = predict(generalist_of_all_kinds(base), make_images(3), base=base)
    assert [[a.task.name for a in p.answers] for p in predictions] == [[str(k) for k in KINDS]] * 3
    assert [p.image for p in predictions] == ["image 1", "image 2", "image 3"]


def test_probabilities_sum_to_one_unless_labels_may_join():
    base = make_base()
    for prediction in predict(generalist_of_all_kinds(base), make_images(4), base=base):
        for answer in prediction.answers:
            assert len(answer.probs) == len(answer.task.labels)
            assert all(0 <= p <= 1 for p in answer.probs)
            if answer.task.kind != "multilabel":
                assert sum(answer.probs) == pytest.approx(1, abs=1e-5)


def test_answers_do_not_depend_on_the_batch():
    base = make_base()
    generalist, images = generalist_of_all_kinds(base), make_images(BATCH + 3)
    together = predict(generalist, images, base=base)
    for index in (0, BATCH - 1, BATCH, BATCH + 2):
        (alone,) = predict(generalist, [images[index]], base=base)
        for a, b in zip(alone.answers, together[index].answers, strict=True):
            assert a.probs == pytest.approx(b.probs, abs=1e-5)


def test_one_task_can_be_asked_alone():
    base = make_base()
    (prediction,) = predict(generalist_of_all_kinds(base), make_images(1), base=base, task="binary")
    assert [a.task.name for a in prediction.answers] == ["binary"]


def test_an_unknown_task_names_the_known_ones():
    base = make_base()
    with pytest.raises(GeneralistError, match="expected one of multiclass, binary"):
        predict(generalist_of_all_kinds(base), make_images(1), base=base, task="chest")


def test_a_bad_file_is_named_and_stops_no_other(tmp_path):
    base = make_base()
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Pillow.new("L", (16, 16)).save(good)
    bad.write_bytes(good.read_bytes()[:40])
    generalist = generalist_of_all_kinds(base)
    first, problem, last = predict(generalist, [good, bad, good], base=base)
    assert (problem.image, problem.answers) == (str(bad), ())
    assert str(problem.problem).startswith(f"{bad}: expected ")
    assert first.problem is last.problem is None
    both = predict(generalist, [good, good], base=base)
    assert (first.answers, last.answers) == (both[0].answers, both[1].answers)
    with pytest.raises(ImageError, match=r"bad\.png"):
        predict(generalist, [bad, bad], base=base)


def test_an_object_that_is_no_patient_image_is_answered_only_when_asked_for(tmp_path):
    base, generalist = make_base(), generalist_of_all_kinds(make_base())
    pixels = np.arange(4096, dtype=np.uint8).reshape(64, 64)
    image = write(tmp_path / "image", dataset(pixels))
    localizer = write(
        tmp_path / "localizer", dataset(pixels, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    answered, skipped = predict(generalist, [image, localizer], base=base)
    assert skipped.problem == f"{localizer}: expected an image of a patient, got a localizer"
    _, asked = predict(generalist, [image, localizer], base=base, any_object=True)
    for one, other in zip(asked.answers, answered.answers, strict=True):
        assert one.probs == pytest.approx(other.probs, abs=1e-5)


def test_multilabel_answers_name_every_label_above_one_half():
    task = Task(name="t", kind="multilabel", labels=("a", "b", "c"))
    assert Answer(task, (0.6, 0.4, 0.9)).labels == ("a", "c")


def test_ordinal_probabilities_are_differences_of_thresholds():
    task = Task(name="t", kind="ordinal", labels=("low", "middle", "high"))
    logits = torch.tensor([[1.0, -1.0]])
    above = torch.sigmoid(logits)[0]
    expected = torch.stack([1 - above[0], above[0] - above[1], above[1]])
    torch.testing.assert_close(task.rules.probabilities(logits)[0], expected, rtol=0, atol=1e-6)


def test_binary_probabilities_speak_of_the_second_label():
    task = Task(name="t", kind="binary", labels=("healthy", "ill"))
    assert task.rules.probabilities(torch.tensor([[3.0]]))[0, 1] > 0.9
