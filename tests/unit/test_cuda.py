"""On CUDA everything answers as on the CPU, up to float32 rounding, and training repeats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import torch

from batchparts import same_answers, save_routed, write_images
from factories import (
    make_base,
    make_brick,
    make_dataset,
    make_pixels,
    scaled,
    with_calibration,
    with_measured_profile,
)
from medlego.base import Base, Inputs, embed, features, through
from medlego.bricks import Brick, on_device
from medlego.data import KINDS, Dataset
from medlego.evaluation import check, evaluate
from medlego.exchange import Ordinary, screen
from medlego.generalist import Generalist, add, assemble, specialist
from medlego.prediction import Engine, explain, predict, predict_many
from medlego.prediction.saliency.explain import METHODS
from medlego.prediction.saliency.randomised import agreement
from medlego.train import (
    TrainSettings,
    adapt,
    export_model,
    refit_for_merge,
    refit_head,
    search_coefficients,
    train_brick,
)
from medlego.train.adapt import CHOICES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

BASE, NAMES = make_base(image_size=32, width=48, depth=3), tuple(KINDS)
CLOSE: Any = {"rtol": 1e-4, "atol": 1e-5}
"""What float32 on two kinds of processor may differ by."""


def data(kind: str, images: int = 40) -> Dataset:
    return make_dataset(kind, NAMES.index(kind), kind, images=images, size=32)


def brick(kind: str, stem: int = 0) -> Brick:
    """With a calibration and the profile of its data, so that everything has work to do."""
    made = scaled(make_brick(kind, NAMES.index(kind), 2, kind, BASE, stem=stem), 0.5)
    return with_calibration(with_measured_profile(made, BASE, data(kind)))


def generalist(stem: int = 0, mode: str = "routed") -> Generalist:
    return assemble([brick(kind, stem) for kind in NAMES], mode=mode)  # type: ignore[arg-type]


def pixels(base: Base = BASE, count: int = 16) -> torch.Tensor:
    side = base.ref.image_size
    return make_pixels(count, size=side)


def pictures(count: int = 4) -> list:
    images = data("multiclass").test.images
    return [images[number] for number in range(count)]


def test_a_module_on_the_device_is_not_copied_again():
    there = on_device(BASE.module, "cuda")
    assert on_device(there, "cuda") is there
    assert on_device(there, "cuda:0") is there
    assert on_device(there, "cpu") is not there


def test_features_are_the_cpus():
    """The first layer is a convolution, which cuDNN by itself computes in TF32."""
    base = make_base(image_size=64, width=96, depth=4)
    there, shown = on_device(base.module, "cuda"), base.normalise(pixels(base))
    tokens, moved = embed(base.module, shown), embed(there, shown.cuda())
    for actual, expected in (
        (moved, tokens),
        (through(there, moved, 0, 2), through(base.module, tokens, 0, 2)),
        (features(there, shown.cuda()), features(base.module, shown)),
    ):
        apart = (actual.cpu() - expected).abs().max()
        assert apart < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("mode", ["merged", "grouped", "routed"])
@pytest.mark.parametrize("stem", [0, 1])
def test_answers_and_routes_are_the_cpus(mode, stem):
    model = generalist(stem, mode)
    both = [Engine(model, BASE, device=device) for device in ("cpu", "cuda")]
    shown = torch.cat([Inputs(data(kind).test.images, BASE).take(range(6)) for kind in NAMES])
    for asked in (None, NAMES):
        expected, batch = (engine.run(shown, asked) for engine in both)
        assert [route.tasks for route in batch.routes] == [r.tasks for r in expected.routes]
        for mine, theirs in zip(batch.answers, expected.answers, strict=True):
            assert mine.reader.task == theirs.reader.task
            assert torch.equal(mine.rows, theirs.rows)
            torch.testing.assert_close(mine.probs, theirs.probs, **CLOSE)


def test_routed_answers_are_the_specialists_there():
    model = generalist()
    answers = Engine(model, BASE, device="cuda").run(pixels(), NAMES).answers
    for one, answered in zip(model.bricks, answers, strict=True):
        module = on_device(specialist(one).fold(BASE), "cuda")
        pooled = features(module, BASE.normalise(pixels().cuda())).cpu()
        expected = one.calibration(one.head.logits(pooled))  # type: ignore[misc]
        expected = one.task.rules.probabilities(expected)
        torch.testing.assert_close(answered.probs, expected, rtol=1e-5, atol=1e-5)


def test_predictions_are_the_cpus():
    both = [
        predict(generalist(), pictures(), base=BASE, every_task=True, device=device)
        for device in ("cpu", "cuda")
    ]
    for expected, prediction in zip(*both, strict=True):
        assert [a.task for a in prediction.answers] == [a.task for a in expected.answers]
        for mine, theirs in zip(prediction.answers, expected.answers, strict=True):
            assert mine.probs == pytest.approx(theirs.probs, abs=1e-5)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_cpus(method, kind):
    both = [
        explain(generalist(), pictures(), kind, method=method, base=BASE, device=device)
        for device in ("cpu", "cuda")
    ]
    for expected, saliency in zip(*both, strict=True):
        assert saliency.label == expected.label
        assert saliency.prob == pytest.approx(expected.prob, abs=1e-5)
        torch.testing.assert_close(
            torch.as_tensor(saliency.patches),
            torch.as_tensor(expected.patches),
            rtol=1e-3,
            atol=1e-4,
        )


def test_maps_of_random_models_are_the_cpus():
    both = [
        agreement(generalist(), pictures(), "binary", base=BASE, device=device)
        for device in ("cpu", "cuda")
    ]
    assert both[0].keys() == both[1].keys()
    for stage, expected in both[0].items():
        assert both[1][stage] == pytest.approx(expected, abs=0.1), stage


def test_an_evaluation_is_the_cpus():
    sets = {kind: data(kind) for kind in NAMES}
    both = [
        evaluate(generalist(), sets, base=BASE, resamples=20, device=device)
        for device in ("cpu", "cuda")
    ]
    for expected, row in zip(both[0].rows, both[1].rows, strict=True):
        assert (row.model, row.task, row.images) == (
            expected.model,
            expected.task,
            expected.images,
        )
        for score, value in expected.scores.items():
            assert row.scores[score].value == pytest.approx(value.value, abs=1e-3, nan_ok=True)


def test_a_gate_is_the_cpus():
    original = generalist(mode="merged")
    changed = add(
        original,
        replace(
            brick("binary"), task=original.bricks[1].task.model_copy(update={"name": "another"})
        ),
    )
    sets = {kind: data(kind) for kind in NAMES}
    both = [check(changed, original, sets, base=BASE, device=device) for device in ("cpu", "cuda")]
    for expected, actual in zip(both[0].tasks, both[1].tasks, strict=True):
        assert (actual.task, actual.verdict) == (expected.task, expected.verdict)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "change", [{}, {"parametrisation": "lora"}, {"merge_aware": True}, {"gram": 5}]
)
def test_training_there_learns_and_repeats(kind, change):
    settings = TrainSettings(
        epochs=8, batch_size=16, rank=2, learning_rate=0.02, head_rate=0.05, **change
    )
    made = data(kind, 96)
    first, again = (train_brick(BASE, made, settings, device="cuda") for _ in range(2))
    assert first.digest == again.digest
    assert first.card.made_with["device"].startswith("cuda")
    assert first.card.scores["auroc"] > 0.8
    assert first.profile is not None
    assert first.calibration is not None


class StoppedError(Exception):
    """Stands for a kill."""


def test_a_killed_run_there_goes_on_to_the_same_brick(tmp_path):
    settings = TrainSettings(epochs=4, batch_size=16, rank=2)
    whole = train_brick(BASE, data("binary"), settings, device="cuda")

    def stop(what: str, *_: int) -> None:
        if what.startswith("epoch 3"):
            raise StoppedError

    path = tmp_path / "state"
    with pytest.raises(StoppedError):
        train_brick(BASE, data("binary"), settings, checkpoint=path, device="cuda", show=stop)
    resumed = train_brick(BASE, data("binary"), settings, checkpoint=path, device="cuda")
    assert resumed.digest == whole.digest


def test_every_start_of_an_adaptation_trains_there():
    merged = assemble([brick(kind) for kind in NAMES[:2]])
    settings = TrainSettings(epochs=2, batch_size=16, rank=2)
    adaptation = adapt(merged, data("ordinal"), settings, base=BASE, device="cuda")
    assert tuple(attempt.start for attempt in adaptation.attempts) == CHOICES


def test_a_profile_and_grams_measured_there_are_the_cpus():
    settings = TrainSettings(epochs=1, rank=2, learning_rate=1e-9, singular_rate=1e-9, gram=5)
    made = [train_brick(BASE, data("binary", 70), settings, device=d) for d in ("cpu", "cuda")]
    expected, profile = (one.profile for one in made)
    assert expected
    assert profile
    torch.testing.assert_close(profile.mean, expected.mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(profile.scale, expected.scale, rtol=1e-3, atol=1e-4)
    for path, gram in made[0].grams.items():
        wide, wider = (g.values for g in (gram, made[1].grams[path]))
        torch.testing.assert_close(wider, wide, rtol=1e-2, atol=1e-2 * float(wide.max()))


def test_refitted_heads_are_the_cpus():
    bricks = [brick(kind) for kind in NAMES]
    both = [
        refit_for_merge(bricks[0], data(NAMES[0]), bricks, base=BASE, device=device)
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(both[1].head.weight, both[0].head.weight, rtol=0.02, atol=0.02)
    model = export_model(generalist(mode="merged"), NAMES[0])
    heads = [refit_head(model, data(NAMES[0]), base=BASE, device=d) for d in ("cpu", "cuda")]
    torch.testing.assert_close(heads[1].head.weight, heads[0].head.weight, rtol=0.02, atol=0.02)


def test_a_search_and_a_screening_are_the_cpus():
    bricks = [brick(kind) for kind in NAMES]
    searches = [
        search_coefficients(
            bricks, {"binary": data("binary")}, values=(0.0, 0.5), base=BASE, device=d
        )
        for d in ("cpu", "cuda")
    ]
    assert searches[0].value == searches[1].value
    screened = [
        screen(bricks[0], bricks[1:], BASE, ordinary=Ordinary.drawn(BASE, 4, device=device))
        for device in ("cpu", "cuda")
    ]
    verdicts = [[(f.check, f.verdict) for f in report.findings] for report in screened]
    assert verdicts[0] == verdicts[1]


def test_a_job_over_many_images_answers_there_as_on_the_cpu(tmp_path):
    save_routed(tmp_path / "routed", tmp_path / "training")
    write_images(tmp_path / "images", 9)
    tables = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.parquet"
        predict_many(tmp_path / "routed", tmp_path / "images", out, device=device)
        tables.append(pl.read_parquet(out))
    assert tables[0].columns == tables[1].columns
    same_answers(tables[1], tables[0], 1e-5)
