"""Calibration: maps that rise, fits that help, thresholds that reach their aim, when it holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from factories import (
    make_base,
    make_brick,
    make_bricks,
    make_dataset,
    make_task,
    with_calibration,
    with_profile,
)
from medlego.bricks import Brick, brick_bytes, brick_from_bytes, head_bytes, load_head
from medlego.data import KINDS
from medlego.errors import BrickError
from medlego.generalist import Generalist, assemble, specialist
from medlego.metrics import Aim, Calibration, LogitMap, OperatingPoint
from medlego.prediction import Answer, predict, working_readers
from medlego.prediction.modes import parts
from medlego.train import export_model, refit_head, with_heads
from medlego.train.calibrate import (
    NOTHING,
    choose_threshold,
    fit_calibration,
    fit_isotonic,
    fit_platt,
)

BASE = make_base()


def calibrated(name: str = "task", seed: int = 0, kind: str = "multiclass") -> Brick:
    return with_calibration(make_brick(name, seed, kind=kind, base=BASE))


def calibration_of(kind: str, operating: OperatingPoint | None = None) -> Calibration:
    calibration = with_calibration(make_brick(kind=kind, base=BASE), operating).calibration
    assert calibration is not None
    return calibration


def drawn(count: int = 400, slope: float = 0.4, offset: float = -1.0, seed: int = 0):
    """Logits of a model that is too sure and shifted, and labels that truly follow."""
    generator = np.random.default_rng(seed)
    z = 3 * generator.normal(size=count)
    return torch.from_numpy(z)[:, None], generator.random(count) < expit(slope * z + offset)


knots = st.lists(st.integers(-30, 30), min_size=1, max_size=6, unique=True).map(sorted)


@settings(max_examples=50, deadline=None)
@given(knots, st.floats(0.1, 5), st.integers(0, 100))
def test_every_map_goes_through_its_knots_and_rises(x: list[int], slope: float, seed: int) -> None:
    method: Literal["isotonic", "platt"]
    y = np.cumsum(np.random.default_rng(seed).random(len(x)) + 0.1)
    method, slope = ("isotonic", 1.0) if len(x) > 1 else ("platt", slope)
    own = LogitMap(method=method, slope=slope, x=tuple(map(float, x)), y=tuple(y))
    at = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(own(at), torch.from_numpy(y), rtol=0, atol=1e-9)
    line = own(torch.linspace(-50, 50, 999, dtype=torch.float64))
    assert (line.diff() > 0).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"x": (0.0, 1.0)}, "as many x as y, both rising"),
        ({"method": "isotonic"}, "several knots of an isotonic map"),
        ({"method": "isotonic", "x": (0.0, 1.0), "y": (1.0, 1.0)}, "both rising"),
        ({"method": "isotonic", "x": (0.0, 1.0), "y": (0.0, 1.0)}, "slope of a isotonic"),
        ({"method": "temperature"}, "knot of a temperature map at 0, 0"),
        ({"method": "none", "y": (0.0,)}, "slope of a none map to be 1"),
        ({"slope": 0.0}, "greater than 0"),
        ({"slope": float("inf")}, "finite number"),
    ],
)
def test_a_map_that_is_none_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LogitMap.model_validate({"method": "platt", "slope": 2.0, "x": (0.0,), "y": (1.0,)} | wrong)


def test_platts_fit_is_logistic_regression_on_drawn_in_targets() -> None:
    z, positive = drawn()
    own = fit_platt(z[:, 0], positive)
    ups, downs = positive.sum(), (~positive).sum()
    target = np.where(positive, (ups + 1) / (ups + 2), 1 / (downs + 2))
    both = np.concatenate([z.numpy(), z.numpy()])
    weights = np.concatenate([target, 1 - target])
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(both, np.repeat([1, 0], 400), weights)
    assert own.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert own.y[0] == pytest.approx(model.intercept_[0], rel=1e-3)


def test_the_isotonic_fit_joins_the_steps_of_isotonic_regression() -> None:
    z, positive = drawn(2000)
    own = fit_isotonic(z[:, 0], positive)
    steps = IsotonicRegression().fit_transform(z[:, 0].numpy(), positive.astype(float))
    probs = own(z[:, 0]).sigmoid().numpy()
    assert np.abs(probs - steps).mean() < 0.02
    assert len(own.x) > 5


def test_isotonic_steps_that_rounding_makes_equal_are_one_knot() -> None:
    close = torch.tensor([1.0, 1.0000001, 1.0000002, 2.0]).repeat_interleave(500).double()
    shares = np.repeat([0.1, 0.5, 0.6, 0.9], 500)
    logit_map = fit_isotonic(close, np.random.default_rng(0).random(2000) < shares)
    assert logit_map.x == (1.0, 2.0)


@pytest.mark.parametrize("seed", [0, 11])
def test_isotonic_regression_fits_many_ordinary_images(seed: int) -> None:
    z, positive = drawn(20_000, slope=0.7, offset=0.0, seed=seed)
    assert fit_isotonic(z[:, 0], positive).method == "isotonic"


def test_the_temperature_is_the_one_of_least_loss() -> None:
    task, generator = make_task(), np.random.default_rng(0)
    z = 4 * generator.normal(size=(300, 3))
    shares = np.exp(z / 3) / np.exp(z / 3).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(3, p=row) for row in shares])
    calibration = fit_calibration(task, torch.from_numpy(z), labels)
    assert calibration is not None

    def loss(log: np.ndarray) -> float:
        t = z * np.exp(log[0])
        return float((np.log(np.exp(t).sum(axis=1)) - t[np.arange(300), labels]).mean())

    best = np.exp(minimize(loss, [0.0], method="Nelder-Mead").x[0])
    assert calibration.maps[0].method == "temperature"
    assert calibration.maps[0].slope == pytest.approx(best, rel=1e-3)
    assert 1 / calibration.maps[0].slope == pytest.approx(3, rel=0.25)
    assert calibration.loss_after < calibration.loss_before


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_lowers_the_loss_of_new_images(kind: str) -> None:
    from medlego.metrics import point_scores

    task, width = make_task(kind=kind), make_task(kind=kind).head_shape[1]
    generator = np.random.default_rng(1)
    bias = np.linspace(1, -1, width) if kind == "ordinal" else np.zeros(width)
    columns = 1 if kind == "ordinal" else width

    def part(count: int) -> tuple[torch.Tensor, np.ndarray]:
        true = torch.from_numpy(2 * generator.normal(size=(count, columns)) + bias)
        probs = task.rules.probabilities(true).numpy()
        if kind == "multilabel":
            return 3 * true, (generator.random(probs.shape) < probs).astype(np.float32)
        draws = generator.random((count, 1))
        return 3 * true, (draws > probs.cumsum(axis=1)).sum(axis=1).clip(max=probs.shape[1] - 1)

    (z, labels), (new, truth) = part(300), part(2000)
    calibration = fit_calibration(task, z, labels)
    assert calibration is not None
    losses = [
        point_scores(task, task.rules.probabilities(t).numpy(), truth, ["log_loss"])["log_loss"]
        for t in (new, calibration(new))
    ]
    assert losses[1] < losses[0] - 0.05


def test_too_few_images_fit_nothing() -> None:
    assert fit_calibration(make_task(), torch.zeros(29, 3), np.arange(29) % 3) is None
    task = make_task(kind="binary")
    assert fit_calibration(task, torch.zeros(40, 1), (np.arange(40) < 9).astype(int)) is None


def test_what_does_not_help_is_not_applied() -> None:
    generator = np.random.default_rng(3)
    z = generator.normal(size=(60, 1))
    labels = (generator.random(60) < expit(z[:, 0])).astype(int)
    calibration = fit_calibration(make_task(kind="binary"), torch.from_numpy(z), labels)
    assert calibration is not None
    assert calibration.maps == (NOTHING,)
    assert calibration.loss_after == calibration.loss_before


def test_only_many_images_are_worth_isotonic_regression() -> None:
    generator = np.random.default_rng(0)
    z = 3 * generator.normal(size=(3000, 1))
    labels = (generator.random(3000) < np.where(z[:, 0] > 0, 0.8, 0.1)).astype(int)
    task = make_task(kind="binary")
    methods = []
    for count in (900, 3000):
        calibration = fit_calibration(task, torch.from_numpy(z[:count]), labels[:count])
        assert calibration is not None
        methods.append(calibration.maps[0].method)
    assert methods == ["platt", "isotonic"]


def test_an_unknown_label_is_left_out_and_a_rare_one_stays_as_it_is() -> None:
    z, positive = drawn()
    logits = torch.cat([z, z, z], dim=1)
    labels = np.stack([positive, positive, np.arange(400) < 5], axis=1).astype(np.float32)
    labels[200:, 1] = np.nan
    calibration = fit_calibration(make_task(kind="multilabel"), logits, labels)
    assert calibration is not None
    half = fit_platt(z[:200, 0], positive[:200])
    assert calibration.maps == (fit_platt(z[:, 0], positive), half, NOTHING)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_one_patient_cannot_say_what_helps(kind: str) -> None:
    z, positive = drawn()
    logits = z if kind == "binary" else torch.cat([5 * z, -5 * z, 0 * z], dim=1)
    calibration = fit_calibration(
        make_task(kind=kind), logits, positive.astype(np.int64), patients=np.array(["p"] * len(z))
    )
    assert calibration is not None
    assert calibration.maps == (NOTHING,)
    assert calibration.loss_after == calibration.loss_before


def test_patients_share_a_fold() -> None:
    from medlego.train.calibrate import _folds

    ids = np.arange(100) // 4
    folds = _folds(np.arange(100) % 2, ids, seed=0)
    assert all(len(set(folds[ids == patient])) == 1 for patient in range(25))
    assert set(folds) == set(range(5))


@pytest.mark.parametrize("value", [0.8, 0.95])
@pytest.mark.parametrize("aim", ["sensitivity", "specificity"])
def test_a_threshold_reaches_its_aim_and_no_more_than_it_must(
    aim: Literal["sensitivity", "specificity"], value: float
) -> None:
    z, positive = drawn()
    logits = z[:, 0].numpy()
    limit = choose_threshold(logits, positive, Aim(aim=aim, value=value))
    called = expit(logits) > limit
    hit = called[positive] if aim == "sensitivity" else ~called[~positive]
    assert value <= hit.mean() < value + 1 / len(hit) + 1e-9


def test_an_operating_point_is_the_aim_of_the_next_fit() -> None:
    z, positive = drawn()
    point = OperatingPoint(aim="specificity", value=0.9, thresholds=(0.5,))
    calibration = fit_calibration(make_task(kind="binary"), z, positive.astype(int), aim=point)
    assert calibration is not None
    assert calibration.operating is not None
    assert (calibration.operating.aim, calibration.operating.value) == ("specificity", 0.9)
    assert calibration.operating.thresholds != point.thresholds


def test_without_an_operating_point_the_same_labels_are_answered() -> None:
    task, calibration = make_task(kind="binary"), calibration_of("binary")
    logits = torch.linspace(-3, 3, 40)[:, None]
    plain = logits[:, 0] > 0
    probs = calibration(logits).sigmoid()[:, 0]
    assert ((probs > calibration.thresholds[0]) == plain).all()
    assert ((probs > 0.5) != plain).any()
    assert Answer(task, (0.3, 0.7), "calibrated", calibration.thresholds).labels == ("label-0",)


def test_an_operating_point_decides_and_a_label_without_one_keeps_its_own() -> None:
    point = OperatingPoint(aim="sensitivity", value=0.9, thresholds=(0.2, None, 0.9))
    calibration = calibration_of("multilabel", point)
    assert calibration.thresholds == (0.2, 0.5, 0.9)
    answer = Answer(
        make_task(kind="multilabel"), (0.3, 0.4, 0.8), "calibrated", calibration.thresholds
    )
    assert answer.labels == ("label-0",)
    assert answer.as_dict()["thresholds"] == {"label-0": 0.2, "label-1": 0.5, "label-2": 0.9}


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_survives_the_file_and_is_part_of_the_digest(kind: str) -> None:
    brick = calibrated(kind=kind)
    content = brick_bytes(brick)
    loaded = brick_from_bytes(content, "x")
    assert loaded.calibration == brick.calibration
    assert brick_bytes(loaded) == content
    assert brick.digest != replace(brick, calibration=None).digest


@pytest.mark.parametrize(
    ("kind", "calibration", "says"),
    [
        ("multilabel", calibration_of("binary"), "calibration.maps: expected 3 for this task"),
        ("binary", calibration_of("multiclass"), "calibration.maps.0: expected none, platt"),
        ("ordinal", calibration_of("binary"), "calibration.maps.0: expected none, temperature"),
        (
            "multiclass",
            calibration_of(
                "multiclass", OperatingPoint(aim="sensitivity", value=0.9, thresholds=(0.5,))
            ),
            "calibration.operating: expected null",
        ),
        (
            "binary",
            calibration_of(
                "binary", OperatingPoint(aim="sensitivity", value=0.9, thresholds=(0.5, 0.5))
            ),
            "calibration.operating: expected 1 thresholds, got 2",
        ),
    ],
)
def test_a_calibration_of_another_task_is_not_written(
    kind: str, calibration: Calibration, says: str
) -> None:
    brick = replace(make_brick(kind=kind, base=BASE), calibration=calibration)
    with pytest.raises(BrickError, match=says):
        brick_bytes(brick)


def states(generalist: Generalist) -> list[str]:
    return [reader.state for reader in working_readers(generalist).values()]


def test_it_holds_for_a_brick_alone_and_is_stale_in_a_merge() -> None:
    bricks = [calibrated("a", 1), calibrated("b", 2)]
    assert states(specialist(bricks[0])) == ["calibrated"]
    assert states(assemble(bricks[:1], mode="merged")) == ["calibrated"]
    assert states(assemble(bricks, mode="merged")) == ["stale", "stale"]
    assert states(assemble(bricks[:1], coefficients=0.5, mode="merged")) == ["stale"]


def test_a_stale_calibration_is_not_applied() -> None:
    plain = make_bricks("ab", BASE)
    images = [make_dataset().test.images[i] for i in range(3)]
    answers = [
        [p.answers[0].probs for p in predict(assemble(b, mode="merged"), images, base=BASE)]
        for b in (plain, [replace(b, calibration=calibration_of("multiclass")) for b in plain])
    ]
    assert answers[0] == answers[1]


def test_routed_answers_are_calibrated_and_grouped_ones_where_alone() -> None:
    bricks = [with_profile(calibrated(n, i), center=float(i)) for i, n in enumerate("abc")]
    shared = {"modality": "MR", "body_part": "BRAIN"}
    for number in (0, 1):
        task = bricks[number].task.model_copy(update=shared)
        bricks[number] = replace(bricks[number], task=task)
    other = bricks[2].task.model_copy(update={"modality": "US", "body_part": "BREAST"})
    bricks[2] = replace(bricks[2], task=other)
    assert states(assemble(bricks, mode="routed")) == ["calibrated"] * 3
    assert states(assemble(bricks, mode="grouped")) == ["stale", "stale", "calibrated"]
    assert {reader.state for reader in parts(assemble(bricks), "merged")[0].readers} == {"stale"}


def test_several_sites_have_no_calibration_together() -> None:
    bricks = [calibrated("a", 1), calibrated("a", 2)]
    assert states(assemble(bricks, mode="merged")) == ["stale"]


def test_without_any_there_is_nothing_to_be_stale() -> None:
    bricks = make_bricks("ab", BASE)
    assert states(assemble(bricks, mode="merged")) == ["none", "none"]


def test_a_specialist_answers_by_its_calibration() -> None:
    brick = calibrated()
    images = [make_dataset().test.images[0]]
    (plain,) = predict(specialist(replace(brick, calibration=None)), images, base=BASE)
    (prediction,) = predict(specialist(brick), images, base=BASE)
    odds = [np.log(p.answers[0].probs) for p in (plain, prediction)]
    assert np.diff(odds[1]) == pytest.approx(0.5 * np.diff(odds[0]), abs=1e-4)
    document: dict[str, Any] = prediction.as_dict()
    assert document["answers"][0]["calibration"] == "calibrated"


@pytest.mark.parametrize("keep", [False, True], ids=["refitted", "kept"])
def test_a_head_round_brings_a_calibration_of_the_merge(keep: bool, tmp_path) -> None:
    bricks = [calibrated("a", 1), calibrated("b", 2)]
    merged, data = assemble(bricks, mode="merged"), make_dataset("a", images=40)
    refit = refit_head(export_model(merged, "a"), data, base=BASE, keep_head=keep)
    assert refit.calibration is not None
    assert torch.equal(refit.head.weight, bricks[0].head.weight) == keep
    (tmp_path / "x").write_bytes(head_bytes(refit))
    read = load_head(tmp_path / "x")
    assert (read.calibration, read.digest) == (refit.calibration, refit.digest)
    after = with_heads(merged, [read])
    assert states(after) == ["calibrated", "stale"]
    after.save(tmp_path / "dir")
    assert states(Generalist.load(tmp_path / "dir")) == ["calibrated", "stale"]
