"""Training that is watched: callbacks, the CSV beside the brick, the curve in its card."""

from __future__ import annotations

import csv
import json
import sys
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from factories import make_base, make_dataset
from medlego.bricks import MAX_CURVE, Card, EpochPoint, load_brick, save_brick
from medlego.errors import SettingsError, TrainingError
from medlego.evaluation import curve_line
from medlego.train import EpochScores, TrainSettings, log_csv, log_tensorboard, train_brick
from medlego.train.epochs import as_csv, curve

SETTINGS = TrainSettings(
    epochs=3, batch_size=5, rank=2, learning_rate=0.01, head_rate=0.05, profile=False
)


def train(*callbacks, settings=SETTINGS, **more):
    return train_brick(
        make_base(), make_dataset(), settings, callbacks=callbacks, device="cpu", **more
    )


class StoppedError(Exception):
    """Stands for a kill."""


def stop_at(number):
    def stop(epoch):
        if epoch.number == number:
            raise StoppedError

    return stop


def row(number, selecting=0.5, *, best=False, loss=0.7):
    return EpochScores(number, 0.9, {"auroc": selecting, "loss": loss}, selecting, 1.0, best)


def test_every_epoch_is_told_with_its_losses_and_scores():
    told: list[Any] = []
    train(told.append)
    assert [(epoch.number, epoch.epochs) for epoch in told] == [(1, 3), (2, 3), (3, 3)]
    assert all(epoch.train_loss > 0 and epoch.scores["loss"] > 0 for epoch in told)
    assert told[0].best
    assert [len(epoch.history) for epoch in told] == [1, 2, 3]
    assert told[2].history[-1].scores == told[2].scores


@pytest.mark.parametrize("callbacks", [print, [1], None, "f"])
def test_callbacks_that_are_no_functions_are_refused_before_an_epoch(callbacks):
    def fail(*_):
        raise AssertionError("trained")

    with pytest.raises(SettingsError, match="callbacks: expected a list of functions"):
        train_brick(make_base(), make_dataset(), SETTINGS, callbacks=callbacks, show=fail)


def test_a_head_fitted_first_is_epoch_0_without_a_training_loss():
    told: list[Any] = []
    train(told.append, settings=SETTINGS.model_copy(update={"head_first": True}))
    assert [epoch.number for epoch in told] == [0, 1, 2, 3]
    assert told[0].train_loss is None


def test_a_merge_aware_training_tells_the_scores_in_a_merge():
    told: list[Any] = []
    train(told.append, settings=SETTINGS.model_copy(update={"merge_aware": True, "epochs": 1}))
    assert "loss_in_merge" in told[0].scores


def test_the_training_loss_is_the_mean_over_the_images_not_the_batches(monkeypatch):
    losses = iter([1.0, 1.0, 4.0])
    from medlego.train import loop

    monkeypatch.setattr(loop._Run, "_step", lambda *_: next(losses))
    told: list[Any] = []
    train(told.append, settings=SETTINGS.model_copy(update={"epochs": 1}))
    assert told[0].train_loss == (1.0 * 5 + 1.0 * 5 + 4.0 * 2) / 12


def test_the_brick_of_a_callback_is_the_brick_as_it_stands():
    made = []
    final = train(lambda epoch: made.append(epoch.brick()))
    assert len({brick.digest for brick in made}) == 3
    best = made[final.settings["best_epoch"] - 1]
    torch.testing.assert_close(best.head.weight, final.head.weight, rtol=0, atol=0)


def test_the_brick_of_a_callback_states_the_scores_and_number_of_its_epoch():
    told: list[Any] = []
    made: list[Any] = []
    train(told.append, lambda epoch: made.append(epoch.brick()))
    stated = [(brick.card.scores, brick.settings["best_epoch"]) for brick in made]
    assert stated == [
        ({name: round(score, 6) for name, score in epoch.scores.items()}, epoch.number)
        for epoch in told
    ]
    assert len({brick.card.scores["loss"] for brick in made}) == 3


def test_the_brick_of_an_epoch_that_is_over_is_refused():
    told: list[Any] = []

    def check_earlier(epoch):
        for earlier in told:
            with pytest.raises(TrainingError, match=r"epoch \d during its callback"):
                earlier.brick()
        told.append(epoch)

    train(check_earlier)
    with pytest.raises(TrainingError) as caught:
        told[2].brick()
    assert str(caught.value) == (
        "training 'task': expected brick() of epoch 3 during its callback, got it later; "
        "call it in the callback and keep the brick"
    )


def test_scores_are_read_only_in_a_callback():
    def spoil(epoch):
        for row in (epoch, *epoch.history):
            with pytest.raises(TypeError):
                row.scores["loss"] = 0.0

    assert train(spoil).card == train().card


def test_the_history_of_a_callback_can_be_copied():
    rows: list[Any] = []
    train(lambda epoch: rows.extend(epoch.history))
    assert deepcopy(rows) == rows


@pytest.mark.parametrize("head_first", [False, True])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_callback_that_fails_ends_the_run_and_a_repeat_gives_the_same_files(
    tmp_path, number, head_first
):
    if number == 0 and not head_first:
        return
    settings = SETTINGS.model_copy(update={"head_first": head_first})
    whole = train(log_csv(tmp_path / "whole.brick.safetensors"), settings=settings)
    state, output = tmp_path / "state", tmp_path / "broken.brick.safetensors"
    with pytest.raises(StoppedError):
        train(stop_at(number), log_csv(output), settings=settings, checkpoint=state)
    assert state.exists()
    told: list[Any] = []
    again = train(log_csv(output), told.append, settings=settings, checkpoint=state)
    assert told[0].number == number
    assert again.digest == whole.digest
    expected = (tmp_path / "whole.epochs.csv").read_bytes()
    assert (tmp_path / "broken.epochs.csv").read_bytes() == expected


def test_the_csv_is_whole_after_every_epoch(tmp_path):
    lines = []

    def read(_epoch):
        with (tmp_path / "b.epochs.csv").open() as stream:
            lines.append([row["epoch"] for row in csv.DictReader(stream)])

    train(log_csv(tmp_path / "b.brick.safetensors"), read)
    assert lines == [["1"], ["1", "2"], ["1", "2", "3"]]


def test_a_csv_has_a_line_an_epoch_and_leaves_undefined_numbers_empty():
    history = [row(1, 0.5, best=True), row(2, float("nan"))]
    assert as_csv(history) == (
        "epoch,train_loss,val_auroc,val_loss,selecting,rate,best\n"
        "1,0.9,0.5,0.7,0.5,1.0,1\n"
        "2,0.9,,0.7,,1.0,0\n"
    )


def test_a_state_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    state = tmp_path / "state"
    with pytest.raises(StoppedError):
        train(stop_at(1), checkpoint=state)
    with safe_open(state, framework="pt") as stream:
        document = json.loads(stream.metadata()["medlego_training"])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    del document["format"]
    document["history"] = [0.5]
    save_file(tensors, state, metadata={"medlego_training": json.dumps(document)})
    with pytest.raises(TrainingError, match="format 2, got 1; delete it to train from the start"):
        train(checkpoint=state)


def test_the_card_keeps_the_epochs_and_a_file_gives_them_back(tmp_path):
    told: list[Any] = []
    brick = train(told.append)
    assert [point.epoch for point in brick.card.epochs] == [1, 2, 3]
    assert [p.train_loss for p in brick.card.epochs] == [round(e.train_loss, 4) for e in told]
    save_brick(brick, tmp_path / "b")
    assert load_brick(tmp_path / "b").card == brick.card


def test_a_long_curve_is_thinned_and_keeps_first_best_and_last():
    history = [row(number, best=number in (1, 334)) for number in range(1, 1001)]
    points = [point.epoch for point in curve(history)]
    assert len(points) <= MAX_CURVE
    assert {1, 334, 1000} <= set(points)
    assert points == sorted(points)


def test_a_curve_has_null_for_what_is_undefined():
    (point,) = curve([row(1, float("nan"), loss=float("inf"))])
    assert (point.score, point.val_loss) == (None, None)


def test_tensorboard_gets_losses_and_scores_by_epoch(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told: list[Any] = []
    train(log_tensorboard(tmp_path / "b.brick.safetensors"), told.append)
    events = EventAccumulator(str(tmp_path / "b.tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(e.number, pytest.approx(e.train_loss)) for e in told]
    assert "val/balanced_accuracy" in events.Tags()["scalars"]


def test_another_tracker_is_three_lines(monkeypatch):
    calls = []
    fake = ModuleType("mlflow")
    fake.log_metrics = lambda values, step: calls.append((step, sorted(values)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    import mlflow  # type: ignore[import-not-found]

    def log(epoch):
        mlflow.log_metrics({"train_loss": epoch.train_loss, **epoch.scores}, step=epoch.number)

    train(log)
    assert [step for step, _ in calls] == [1, 2, 3]
    assert "train_loss" in calls[0][1]


@pytest.mark.parametrize("value", ["1e999", "-1e300", "NaN"])
def test_a_curve_that_cannot_be_drawn_is_refused(value):
    text = f'{{"epoch": 1, "train_loss": {value}, "val_loss": null, "score": 0.5}}'
    with pytest.raises(ValueError, match="train_loss"):
        EpochPoint.model_validate_json(text, strict=True)


def test_a_flat_curve_and_one_of_undefined_scores_can_be_drawn():
    flat = curve([row(1), row(2)])
    assert curve_line(Card(epochs=flat)) == (
        "▁▁ epochs 1 to 2: score 0.500 to 0.500, training loss 0.900 to 0.900, "
        "validation loss 0.700 to 0.700"
    )
    assert "score" not in curve_line(Card(epochs=curve([row(1, float("nan"))])))
    assert curve_line(Card()) == ""
