"""Training: deterministic, resumable, and its result canonical."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from factories import make_base, make_dataset
from medlego.bricks import canonical_problems, load_brick, save_brick
from medlego.data import KINDS, Dataset, Samples
from medlego.errors import BaseError, BrickError, SettingsError, TrainingError
from medlego.images import Image
from medlego.train import TrainSettings, loop, train_brick

QUICK = TrainSettings(epochs=3, batch_size=5, rank=2, learning_rate=0.01, head_rate=0.05)

VALUES = "1 validation error for State"
HISTORY = "its history is not that of its epochs"
TENSORS = "its tensors are not those of the run"


class StoppedError(Exception):
    """Stands for a kill."""


def stop_in_epoch(number):
    def show(what, done, _total):
        if what.startswith(f"epoch {number} ") and done % 3 == 1:
            raise StoppedError

    return show


def test_same_seed_gives_the_same_brick():
    bricks = [train_brick(make_base(), make_dataset(), QUICK, device="cpu") for _ in range(2)]
    assert bricks[0].digest == bricks[1].digest


def test_another_seed_gives_another_brick():
    other = QUICK.model_copy(update={"seed": 1})
    first = train_brick(make_base(), make_dataset(), QUICK, device="cpu")
    second = train_brick(make_base(), make_dataset(), other, device="cpu")
    assert not torch.equal(first.head.weight, second.head.weight)


@pytest.mark.parametrize(
    "change",
    [
        {"parametrisation": "svd"},
        {"parametrisation": "lora"},
        {"merge_aware": True},
        {"views": 2, "stem": 1},
    ],
)
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_goes_on_to_the_same_brick(tmp_path, epoch, change):
    settings = QUICK.model_copy(update=change)
    base, data, path = make_base(), make_dataset(), tmp_path / "state"
    whole = train_brick(base, data, settings, device="cpu")
    with pytest.raises(StoppedError):
        train_brick(base, data, settings, checkpoint=path, device="cpu", show=stop_in_epoch(epoch))
    assert path.exists() == (epoch > 1)
    resumed = train_brick(base, data, settings, checkpoint=path, device="cpu")
    assert resumed.digest == whole.digest
    assert not path.exists()


def test_a_state_of_another_run_is_refused(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(StoppedError):
        train_brick(
            make_base(), make_dataset(), QUICK, checkpoint=path, show=stop_in_epoch(2), device="cpu"
        )
    with pytest.raises(TrainingError, match="expected the state of this run"):
        train_brick(make_base(), make_dataset(seed=1), QUICK, checkpoint=path, device="cpu")
    assert path.exists()


@pytest.mark.parametrize("last", ["save", "calibration"])
def test_a_run_whose_last_step_fails_loses_no_epoch(tmp_path, monkeypatch, last):
    base, data, path = make_base(), make_dataset(), tmp_path / "state"
    epochs = []

    def fail(*_arguments, **_more):
        raise OSError("no space left")

    def count(what, _done, _total):
        epochs.append(what)

    settings = QUICK.model_copy(update={"calibrate": True})
    with monkeypatch.context() as patched:
        if last == "calibration":
            patched.setattr(loop, "fit_calibration", fail)
        with pytest.raises(OSError, match="no space"):
            train_brick(base, data, settings, checkpoint=path, device="cpu", save=fail)
    assert path.exists()
    saved: list[object] = []
    brick = train_brick(
        base, data, settings, checkpoint=path, device="cpu", save=saved.append, show=count
    )
    assert not any("epoch" in what for what in epochs)
    assert saved == [brick]
    assert not path.exists()


def test_scores_that_one_label_leaves_undefined_are_left_out(tmp_path):
    data = make_dataset()
    val = data.val.take(np.flatnonzero(data.val.labels == 0))
    data = Dataset.of(data.task, {"train": data.train, "val": val, "test": data.test})
    brick = train_brick(make_base(), data, QUICK, device="cpu")
    assert "auroc" not in brick.card.scores
    assert "accuracy" in brick.card.scores
    save_brick(brick, tmp_path / "x")
    assert load_brick(tmp_path / "x").digest == brick.digest


def test_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="damaged"):
        train_brick(make_base(), make_dataset(), QUICK, checkpoint=path, device="cpu")


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The bytes of a run's state after two epochs."""
    path = tmp_path_factory.mktemp("state") / "state"
    with pytest.raises(StoppedError):
        train_brick(
            make_base(), make_dataset(), QUICK, checkpoint=path, show=stop_in_epoch(3), device="cpu"
        )
    return path.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda document, _: document["history"][0]["scores"].pop("loss"), "an epoch has no loss"),
        (lambda document, _: document.update(epoch="2"), VALUES),
        (lambda document, _: document["history"][0].update(train_loss=[1]), VALUES),
        (lambda document, _: document.update(history=[]), HISTORY),
        (lambda document, _: document["history"].pop(), HISTORY),
        (lambda document, _: document.update(best_epoch=7), HISTORY),
        (lambda _, tensors: tensors.pop("now.0"), TENSORS),
        (lambda _, tensors: tensors.pop("best.1"), TENSORS),
        (lambda _, tensors: tensors.pop("optimiser.0.exp_avg"), TENSORS),
        (lambda _, tensors: [tensors.pop(n) for n in list(tensors) if "optimiser" in n], TENSORS),
        (lambda _, tensors: tensors.update({"now.0": torch.zeros(1, 1)}), TENSORS),
        (lambda _, tensors: tensors.update({"optimiser.99.step": torch.zeros(())}), TENSORS),
    ],
)
def test_a_well_formed_state_of_wrong_content_is_refused(state, tmp_path, spoil, why):
    path = tmp_path / "state"
    path.write_bytes(state)
    with safe_open(path, framework="pt") as stream:
        document = json.loads(stream.metadata()["medlego_training"])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    spoil(document, tensors)
    save_file(tensors, path, metadata={"medlego_training": json.dumps(document)})
    with pytest.raises(TrainingError) as caught:
        train_brick(make_base(), make_dataset(), QUICK, checkpoint=path, device="cpu")
    assert str(caught.value) == (
        f"{path}: expected a training run's state, got a damaged file ({why}); delete it"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_is_learnt(kind):
    settings = TrainSettings(
        epochs=40, batch_size=8, rank=2, learning_rate=0.01, head_rate=0.05, augment=False
    )
    brick = train_brick(make_base(), make_dataset(kind=kind, images=24), settings, device="cpu")
    assert brick.card.scores["balanced_accuracy"] > 0.8


@pytest.mark.parametrize("parametrisation", ["svd", "lora"])
def test_deltas_are_canonical(parametrisation):
    settings = QUICK.model_copy(update={"parametrisation": parametrisation})
    brick = train_brick(make_base(), make_dataset(), settings, device="cpu")
    assert [p for delta in brick.deltas.values() for p in canonical_problems(delta)] == []
    assert max(delta.norm() for delta in brick.deltas.values()) > 0


def test_the_base_stays_as_it_was():
    base = make_base()
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    train_brick(base, make_dataset(), QUICK, device="cpu")
    after = base.module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_test_split_stays_unread():
    class Sealed:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Image:
            raise AssertionError("read")

    data = replace(make_dataset(), test=Samples(Sealed(), np.zeros(3, dtype=np.int64)))
    train_brick(make_base(), data, QUICK, device="cpu")


def test_a_stem_leaves_the_first_blocks_unadapted():
    settings = QUICK.model_copy(update={"stem": 1})
    brick = train_brick(make_base(depth=3), make_dataset(), settings, device="cpu")
    assert {target.name.split(".")[1] for target in brick.targets} == {"1", "2"}


def test_a_stem_as_deep_as_the_base_is_refused():
    settings = QUICK.model_copy(update={"stem": 2})
    with pytest.raises(BaseError, match="stem: expected 0 to 1 blocks, got 2"):
        train_brick(make_base(), make_dataset(), settings, device="cpu")


def test_training_stops_when_validation_no_longer_gains():
    settings = TrainSettings(epochs=50, batch_size=12, rank=1, patience=2, head_rate=0.05)
    seen = []
    train_brick(
        make_base(),
        make_dataset(),
        settings,
        device="cpu",
        show=lambda what, *_: seen.append(what),
    )
    assert len([what for what in seen if what.startswith("epoch")]) < 50


@pytest.mark.parametrize(
    ("merge_aware", "expected"),
    [(False, "expected a finite loss, got nan"), (True, "expected finite activations")],
)
def test_a_diverging_loss_is_an_error(merge_aware, expected):
    class Broken:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Image:
            return Image(torch.full((1, 16, 16), float("nan")))

    data = make_dataset()
    data = replace(data, train=replace(data.train, images=Broken()))
    settings = QUICK.model_copy(update={"merge_aware": merge_aware})
    with pytest.raises(TrainingError, match=expected):
        train_brick(make_base(), data, settings, device="cpu")


def test_the_card_counts_images_per_label_and_split():
    brick = train_brick(make_base(), make_dataset(images=12), QUICK, device="cpu")
    counts = {"label-0": 4, "label-1": 4, "label-2": 4}
    assert brick.card.images == {"train": counts, "val": counts}


@pytest.mark.parametrize("note", ["two\nlines", "x" * 501])
def test_a_note_that_no_card_holds_is_refused_before_training(note):
    shown = []
    with pytest.raises(BrickError, match=r"^card: data: "):
        train_brick(make_base(), make_dataset(), data_note=note, show=lambda *at: shown.append(at))
    assert shown == []


def test_settings_report_every_wrong_key_at_once():
    with pytest.raises(SettingsError, match=r"rank: .*\n.*speed: "):
        TrainSettings.build(rank=0, speed=3)


@pytest.mark.parametrize(("images", "epochs"), [(32, 50), (2000, 8), (700, 23)])
def test_epochs_follow_the_number_of_images(images, epochs):
    assert TrainSettings().epochs_for(images) == epochs


def calibration_of(images, **change):
    settings = TrainSettings(**{**QUICK.model_dump(), **change})
    data = make_dataset(kind="binary", images=images)
    return train_brick(make_base(), data, settings, device="cpu").calibration


def test_a_brick_is_calibrated_on_validation_images_where_there_are_enough():
    assert calibration_of(12) is None
    calibration = calibration_of(30)
    assert calibration.images == 30
    assert calibration.loss_after <= calibration.loss_before
    assert calibration.operating is None


def test_calibration_can_be_left_out_and_decides_nothing_else():
    bricks = [
        train_brick(
            make_base(),
            make_dataset(kind="binary", images=30),
            QUICK.model_copy(update={"calibrate": flag}),
            device="cpu",
        )
        for flag in (True, False)
    ]
    assert bricks[1].calibration is None
    assert replace(bricks[0], calibration=None).digest == bricks[1].digest


def test_thresholds_are_chosen_for_a_stated_sensitivity():
    calibration = calibration_of(30, sensitivity=0.9)
    assert (calibration.operating.aim, calibration.operating.value) == ("sensitivity", 0.9)
    assert len(calibration.operating.thresholds) == 1


def test_thresholds_that_were_asked_for_and_not_made_are_said_so():
    few, enough = (
        train_brick(
            make_base(),
            make_dataset(kind="binary", images=images),
            TrainSettings(**{**QUICK.model_dump(), "sensitivity": 0.9}),
            device="cpu",
        )
        for images in (12, 30)
    )
    assert few.calibration is None
    assert few.missing_thresholds == (
        f"no threshold for a sensitivity of 0.9: {few.task.labels[1]}; val has too few images "
        "with it or without it"
    )
    assert few.settings["sensitivity"] == 0.9
    assert enough.missing_thresholds is None


def test_thresholds_of_a_task_without_any_are_refused_before_training():
    settings = TrainSettings(specificity=0.9)
    with pytest.raises(SettingsError, match="expected a binary or multilabel task, got multiclass"):
        train_brick(make_base(), make_dataset(), settings, device="cpu")


@pytest.mark.parametrize(
    "wrong",
    [{"sensitivity": 0.9, "specificity": 0.9}, {"sensitivity": 0.9, "calibrate": False}],
)
def test_two_aims_or_one_without_calibration_are_refused(wrong):
    with pytest.raises(SettingsError, match="one of them, with calibrate"):
        TrainSettings.build(**wrong)
