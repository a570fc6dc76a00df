"""The service answers as `predict` does, whatever is sent at the same time or edited meanwhile."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medlego.bricks import Signer, sign_brick
from medlego.generalist import Generalist, add, undo
from medlego.prediction import Engine, predict
from medlego.serve import Service
from medlego.serve.batching import Batcher
from medlego.serve.reload import Reloader
from serving import (
    PATIENCE_S,
    SMALL,
    asking,
    every_format,
    files,
    here,
    picture,
    png,
    unknown,
    wait_until,
)

TOLERANCE = 1e-5


@pytest.fixture
def client(place, routed):
    with asking(here(place, routed)) as client:
        yield client


def offline(place, directory, contents, folder, **asked):
    """What `predict` says of files, as the service words it."""
    paths = [folder / f"{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    predictions = predict(Generalist.load(directory), paths, base=place.base, **asked)
    return [{**p.as_dict(), "image": f"image {n}"} for n, p in enumerate(predictions, 1)]


def assert_same(actual, expected):
    """Equal documents, numbers to the tolerance; what `actual` has more is who answered."""
    if isinstance(expected, dict):
        assert set(actual) - set(expected) <= {"bricks"}
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=TOLERANCE)
    else:
        assert actual == expected


def test_comparison_of_answers_can_fail():
    with pytest.raises(AssertionError):
        assert_same([{"a": 0.5 + 2 * TOLERANCE}], [{"a": 0.5}])


# answers -----------------------------------------------------------------------------------------
def test_files_of_every_format_are_answered_as_offline(place, routed, decoders, tmp_path):
    contents = list(every_format().values())
    expected = offline(place, routed, contents, tmp_path, every_task=True)
    limits = SMALL.model_copy(update={"images": len(contents)})
    with asking(here(place, routed, limits=limits, decoders=decoders)) as client:
        form: dict[str, Any] = {"files": files(*contents), "data": {"every_task": "true"}}
        answer = client.post("/v1/predict", **form)
    assert answer.status_code == 200
    assert_same(answer.json()["predictions"], expected)


@pytest.mark.parametrize("mode", ["merged", "grouped", "routed"])
@pytest.mark.parametrize(
    "asked", [{}, {"task": "found"}, {"every_task": True}], ids=["routed", "task", "every"]
)
def test_answers_are_those_of_offline_in_every_mode(place, tmp_path, mode, asked):
    directory = place.generalist(f"{mode}-{'-'.join(asked)}", mode=mode)
    contents = [png(picture(seed)) for seed in (0, 1)] + [unknown()]
    with asking(here(place, directory)) as client:
        answer = client.post("/v1/predict", files=files(*contents), data=asked)
    assert_same(
        answer.json()["predictions"], offline(place, directory, contents, tmp_path, **asked)
    )


def test_answers_tell_calibration_and_thresholds(client):
    answer = client.post("/v1/predict", files=files(png(picture())), data={"task": "found"})
    (entry,) = answer.json()["predictions"][0]["answers"]
    assert entry["calibration"] == "calibrated"
    assert list(entry["thresholds"]) == ["label-1"]


def test_an_image_of_no_task_is_answered_with_the_reason_alone(client):
    (prediction,) = client.post("/v1/predict", files=files(unknown())).json()["predictions"]
    assert prediction["answers"] == []
    assert "like no task's training images" in prediction["route"]["reason"]


@pytest.mark.parametrize(("mode", "count"), [("routed", 1), ("grouped", 3), ("merged", 3)])
def test_answers_name_the_bricks_that_answered(place, mode, count):
    directory = place.generalist(f"named-{mode}", mode=mode)
    with asking(here(place, directory)) as client:
        form: dict[str, Any] = {"files": files(png(picture())), "data": {"task": "greys"}}
        (prediction,) = client.post("/v1/predict", **form).json()["predictions"]
    digests = [brick.digest for brick in place.bricks]
    assert prediction["answers"][0]["bricks"] == digests[:count]


def test_one_unreadable_image_stops_no_other(client):
    pictures = png(picture()), b"no image", png(picture())
    first, problem, last = client.post("/v1/predict", files=files(*pictures)).json()["predictions"]
    assert problem["image"] == "image 2"
    assert problem["problem"].startswith("expected a PNG, JPEG, JPEG 2000, TIFF, BMP, PGM, DICOM")
    assert problem["answers"] == []
    assert first["problem"] is last["problem"] is None
    assert first["answers"] == last["answers"] != []


def test_images_none_of_which_can_be_read_are_named_by_their_places(client):
    answer = client.post("/v1/predict", files=files(b"no image", b"none either"))
    assert answer.status_code == 422
    assert [text[:17] for text in answer.json()["problems"]] == [
        "image 1: expected",
        "image 2: expected",
    ]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([("SECRET_4711", (None, "1"))], "form: expected known fields, got another"),
        ([("task", (None, "a")), ("task", (None, "b"))], "task: expected one text"),
        ([("task", ("x.png", b"a"))], "task: expected one text"),
        ([("images", (None, "text"))], "images.1: expected a file"),
        ([("every_task", (None, "perhaps"))], "every_task: "),
        ([("every_task", ("x.png", b"1"))], "every_task: expected one text"),
        (
            [("task", (None, "found")), ("every_task", (None, "1"))],
            "form: expected task or every_task, got both",
        ),
    ],
)
def test_a_form_with_wrong_fields_is_refused_without_what_came_in(client, parts, problem):
    answer = client.post("/v1/predict", files=files(png(picture())) + parts)
    assert answer.status_code == 422
    assert answer.json()["problems"][0].startswith(problem)
    assert not [word for word in ("SECRET", "text", "perhaps") if f"{word}'" in answer.text]


def test_a_form_without_images_is_refused(client):
    answer = client.post("/v1/predict", files=[("task", (None, "found"))])
    assert answer.json()["problems"] == ["images: expected a value, got none"]


# batches -----------------------------------------------------------------------------------------
@pytest.fixture
def gate(monkeypatch):
    """Holds the model back until it is set; `sizes` are the batches that came."""
    event: Any = threading.Event()
    event.sizes = []
    answer = Engine.predict

    def wait(engine, pixels, tasks):
        event.sizes.append(len(pixels))
        assert event.wait(PATIENCE_S)
        return answer(engine, pixels, tasks)

    monkeypatch.setattr(Engine, "predict", wait)
    return event


def started(limits=SMALL):
    batcher = Batcher(limits)
    batcher.start()
    return batcher


def model_of(place, directory):
    return Reloader(directory, base_weights=place.weights).model


def test_images_that_wait_are_answered_together(place, routed, gate):
    batcher, model = started(), model_of(place, routed)
    pixels = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = batcher.submit(model, pixels[0], None)
    wait_until(lambda: gate.sizes == [1])
    others = [batcher.submit(model, one, None) for one in pixels[1:]]
    gate.set()
    assert all(one.result(PATIENCE_S).route is not None for one in (first, *others))
    batcher.close()
    assert gate.sizes == [1, 5]


def test_images_of_other_tasks_and_models_are_kept_apart(place, routed, gate):
    batcher, (one, two) = started(), (model_of(place, routed), model_of(place, routed))
    pixels = torch.zeros(3, 32, 32)
    first = batcher.submit(one, pixels, None)
    wait_until(lambda: gate.sizes == [1])
    asked = [(one, ("found",)), (two, ("found",)), (one, ("greys",)), (one, ("found",))]
    others = [batcher.submit(model, pixels, tasks) for model, tasks in asked]
    gate.set()
    first.result(PATIENCE_S)
    names = [[a.task.name for a in other.result(PATIENCE_S).answers] for other in others]
    batcher.close()
    assert names == [["found"], ["found"], ["greys"], ["found"]]
    assert sorted(gate.sizes) == [1, 1, 1, 2]


def test_batches_are_no_larger_than_the_limit(place, routed, gate):
    batcher, model = started(SMALL.model_copy(update={"batch_images": 2})), model_of(place, routed)
    futures = [batcher.submit(model, torch.zeros(3, 32, 32), None) for _ in range(5)]
    gate.set()
    assert all(future.result(PATIENCE_S) for future in futures)
    batcher.close()
    assert max(gate.sizes) == 2


def test_an_image_whose_request_gave_up_is_not_answered(place, routed, gate):
    batcher, model = started(), model_of(place, routed)
    first = batcher.submit(model, torch.zeros(3, 32, 32), None)
    wait_until(lambda: gate.sizes == [1])
    assert batcher.submit(model, torch.zeros(3, 32, 32), None).cancel()
    gate.set()
    first.result(PATIENCE_S)
    batcher.close()
    assert gate.sizes == [1]


def test_a_fault_reaches_those_who_asked_and_no_others(place, routed):
    batcher, model = started(), model_of(place, routed)
    wrong = batcher.submit(model, torch.zeros(3, 30, 30), None)
    with pytest.raises(Exception, match=r"30"):
        wrong.result(PATIENCE_S)
    assert batcher.submit(model, torch.zeros(3, 32, 32), None).result(PATIENCE_S).route is not None
    batcher.close()


def test_closing_answers_what_waits(place, routed, gate):
    batcher, model = started(), model_of(place, routed)
    futures = [batcher.submit(model, torch.zeros(3, 32, 32), None) for _ in range(3)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.set()
    closing.join(PATIENCE_S)
    assert all(future.done() for future in futures)


# edits while it runs -----------------------------------------------------------------------------
def edited(directory, change):
    return edited_from(Generalist.load, directory, change)


def edited_from(load, directory, change):
    before = load(directory)
    after = change(before)
    after.commit(directory, after=before)
    return after


def test_an_edit_is_taken_in(place):
    directory = place.generalist("added", 2)
    service = here(place, directory)
    with asking(service) as client:
        after = edited(directory, lambda g: add(g, place.bricks[2]))
        service.reloader.check()
        generalist = client.get("/v1/generalist").json()
    assert (generalist["digest"], generalist["entry"]) == (after.recipe.digest, 1)
    assert [task["name"] for task in generalist["tasks"]] == ["greys", "found", "signs"]


def test_an_edit_is_noticed_unasked(place):
    directory = place.generalist("noticed", 2)
    with asking(here(place, directory, poll_s=0.02)) as client:
        edited(directory, lambda g: add(g, place.bricks[2]))
        wait_until(lambda: client.get("/v1/generalist").json()["entry"] == 1)


def test_undo_rolls_back_to_the_same_recipe(place):
    directory = place.generalist("undone", 2)
    service = here(place, directory)
    before = service.model.digest
    edited(directory, lambda g: add(g, place.bricks[2]))
    service.reloader.check()
    assert service.model.digest != before
    edited(directory, undo)
    service.reloader.check()
    assert (service.model.digest, service.model.entry) == (before, 2)


def test_a_request_under_way_is_answered_by_the_state_that_it_came_in_under(place, gate):
    directory = place.generalist("under-way", 2)
    service = here(place, directory)
    before = service.model.digest
    with asking(service) as client, ThreadPoolExecutor(1) as pool:
        ask = pool.submit(client.post, "/v1/predict", files=files(png(picture())))
        wait_until(lambda: gate.sizes == [1])
        after = edited(directory, lambda g: add(g, place.bricks[2]))
        service.reloader.check()
        gate.set()
        assert ask.result(PATIENCE_S).json()["generalist"] == before
        later = client.post("/v1/predict", files=files(png(picture())))
    assert later.json()["generalist"] == after.recipe.digest


def test_a_broken_directory_leaves_the_old_state_answering_and_says_so(place):
    directory = place.generalist("broken", 2)
    service = here(place, directory)
    with asking(service) as client:
        document = (directory / "generalist.json").read_bytes()
        (directory / "generalist.json").write_bytes(document[:-20])
        service.reloader.check()
        service.reloader.check()
        assert client.get("/health/ready").json()["status"] == "stale"
        assert client.post("/v1/predict", files=files(png(picture()))).status_code == 200
        assert "expected" in client.get("/v1/generalist").json()["problem"]
        assert metric(client, "medlego_directory_broken") == 1
        assert metric(client, 'medlego_reloads_total{outcome="refused"}') == 1
        (directory / "generalist.json").write_bytes(document)
        service.reloader.check()
        assert client.get("/health/ready").json()["status"] == "ready"
        assert metric(client, "medlego_directory_broken") == 0


def test_a_directory_that_goes_away_leaves_the_old_state_answering(place):
    directory = place.generalist("gone", 2)
    service = here(place, directory)
    directory.rename(place.folder / "elsewhere")
    service.reloader.check()
    with asking(service) as client:
        assert client.get("/health/ready").json()["status"] == "stale"


def test_a_fault_while_loading_leaves_the_old_state_and_the_following_at_work(place, monkeypatch):
    directory = place.generalist("faulty", 2)
    service, load = here(place, directory, poll_s=0.02), Generalist.load

    def fail(_directory):
        raise ZeroDivisionError

    with asking(service) as client:
        monkeypatch.setattr(Generalist, "load", fail)
        after = edited_from(load, directory, lambda g: add(g, place.bricks[2]))
        wait_until(lambda: client.get("/health/ready").json()["status"] == "stale")
        assert client.get("/v1/generalist").json()["problem"] == "unexpected ZeroDivisionError"
        monkeypatch.setattr(Generalist, "load", load)
        wait_until(lambda: client.get("/v1/generalist").json()["digest"] == after.recipe.digest)


def test_a_broken_directory_is_read_again_ever_more_rarely_and_after_an_edit_at_once(
    place, monkeypatch
):
    directory, now, read = place.generalist("rarely", 2), [0.0], []
    reloader, load = (
        Reloader(directory, base_weights=place.weights, clock=lambda: now[0]),
        Reloader._load,
    )
    before = Generalist.load(directory)

    def fail(_keeper, _base):
        read.append(now[0])
        raise OSError

    monkeypatch.setattr(Reloader, "_load", fail)
    edited(directory, lambda g: add(g, place.bricks[2]))
    for second in range(200):
        now[0] = float(second)
        reloader.check()
    assert read == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    monkeypatch.setattr(Reloader, "_load", load)
    edited(directory, undo)
    reloader.check()
    assert (reloader.problem, reloader.model.digest) == (None, before.recipe.digest)


# what it tells of itself -------------------------------------------------------------------------
def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    (value,) = [line.rsplit(" ", 1)[1] for line in lines if line.rsplit(" ", 1)[0] == name]
    return float(value)


def test_generalist_is_told_with_lineage_and_card(client):
    generalist = client.get("/v1/generalist").json()
    assert [entry["action"] for entry in generalist["lineage"]] == ["assemble"]
    assert generalist["mode"] == "routed"
    assert generalist["base"]["name"] == "test_vit"
    assert {task["calibration"] for task in generalist["tasks"]} == {"calibrated"}
    assert "# " in generalist["card"]


def test_bricks_are_told_with_their_signatures(place, tmp_path):
    directory = place.generalist("signed", 2)
    signer = Signer.new()
    signature = sign_brick(place.bricks[0], signer)
    signed = Generalist.load(directory).signed([signature])
    signed.save(tmp_path / "signed")
    with asking(here(place, tmp_path / "signed")) as client:
        bricks = client.get("/v1/bricks").json()
    assert [brick["digest"] for brick in bricks] == [b.digest for b in place.bricks[:2]]
    assert bricks[0]["signature"]["keys"] == [signer.id]
    assert bricks[1]["signature"] is None


def test_metrics_count_requests_answers_and_abstentions(client):
    client.post("/v1/predict", files=files(png(picture()), unknown()))
    client.post("/v1/predict", files=files(b"no image"))
    client.get("/nowhere/DOE")
    assert metric(client, 'medlego_requests_total{route="/v1/predict",status="200"}') == 1
    assert metric(client, 'medlego_requests_total{route="/v1/predict",status="422"}') == 1
    assert metric(client, 'medlego_requests_total{route="none",status="404"}') == 1
    assert metric(client, 'medlego_answers_total{task="greys"}') == 1
    assert metric(client, "medlego_abstentions_total") == 1
    assert metric(client, "medlego_unreadable_images_total") == 1
    assert metric(client, "medlego_batch_images_sum") == 2


def test_readiness_is_refused_before_the_start_and_after_the_end(place, routed):
    service = here(place, routed)
    assert not service.open
    with asking(service) as client:
        assert client.get("/health/ready").status_code == 200
        service.open = False
        assert client.get("/health/ready").status_code == 503


# reading in other processes ----------------------------------------------------------------------
def test_shared_readers_serve_two_services_and_outlive_them(place, routed, decoders):
    other = place.generalist("other", 1)
    digests = []
    for directory in (routed, other):
        with asking(here(place, directory, decoders=decoders)) as client:
            answer = client.post("/v1/predict", files=files(png(picture())))
            digests.append(answer.json()["generalist"])
    assert len(set(digests)) == 2
    (image,) = asyncio.run(decoders.decode(png(picture()), [32]))
    assert image.pixels.shape == (3, 32, 32)
    assert image.sides == (16, 20)
    assert image.applied == ("scaled: 8 bit by 1/255",)


def test_an_image_with_unequal_spacing_is_fitted_once(place, decoders):
    volume = nibabel.Nifti1Image(np.stack([picture()] * 2, axis=-1), np.diag([1, 3, 1, 1]))
    (image,) = asyncio.run(decoders.decode(volume.to_bytes(), [32]))
    torch.testing.assert_close(place.base.prepare(image), image.pixels, rtol=0, atol=0)


def test_a_service_alone_starts_and_ends_readers_of_its_own(place, routed):
    with asking(Service(routed, base_weights=place.weights, limits=SMALL)) as client:
        assert client.post("/v1/predict", files=files(png(picture()))).status_code == 200
        app: Any = client.app
        (waiting,) = app.state.service.decoders._pool._waiting
        assert waiting.lives
    assert not waiting.lives
