"""Merge-aware training: the merges that a brick is trained in."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from factories import make_base, make_brick, make_dataset, make_pixels
from medlego.base import features, input_moments
from medlego.bricks import LowRank, attach, fold, set_other_bricks
from medlego.data import KINDS
from medlego.errors import BrickError, SettingsError
from medlego.generalist import assemble
from medlego.train import TrainSettings, train_brick
from medlego.train.factors import SvdFactors
from medlego.train.merge_aware import SimulatedMerges

BASE = make_base()
TARGETS = BASE.targets()
SETTINGS = TrainSettings(rank=2, merge_aware=True, merge_size=4, alone=0.0)
IMAGES = make_pixels(6)
Parts = dict[str, tuple[nn.Parameter, ...]]


def moments() -> dict[str, torch.Tensor]:
    return input_moments(BASE, BASE.module, TARGETS, [IMAGES[:4], IMAGES[4:]])


def factors(strength: float = 1.0) -> Parts:
    made = SvdFactors(TARGETS, SETTINGS, "cpu").by_target
    for _, S, _ in made.values():
        nn.init.constant_(S, strength)
    return made


def merges(bricks: tuple = (), **settings: object) -> SimulatedMerges:
    chosen = SETTINGS.model_copy(update=settings)
    return SimulatedMerges(BASE.module, TARGETS, moments(), bricks, chosen)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moments_are_those_of_every_token_that_goes_in() -> None:
    path, seen = TARGETS[0].module, []
    hook = BASE.module.get_submodule(path).register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0].flatten(0, -2).double())
    )
    with torch.no_grad():
        features(BASE.module, BASE.normalise(IMAGES))
    hook.remove()
    rows = torch.cat(seen)
    torch.testing.assert_close(moments()[path], rows.T @ rows / len(rows), rtol=1e-5, atol=1e-8)


def test_moments_leave_no_hook_behind() -> None:
    moments()
    assert not any(module._forward_pre_hooks for module in BASE.module.modules())


def test_a_simulated_merge_is_the_merge_it_stands_for() -> None:
    own, others = factors(), [make_brick(f"s{i}", seed=i, base=BASE) for i in range(2)]
    model = attach(BASE.module, TARGETS, own)
    joined = {
        t.name: (
            torch.cat([0.5 * b.deltas[t.name].U * b.deltas[t.name].S for b in others], dim=1),
            torch.cat([b.deltas[t.name].Vh for b in others]),
        )
        for t in TARGETS
    }
    set_other_bricks(model, 0.5, joined)
    merged = {
        t.name: LowRank.from_factors(
            torch.cat([0.5 * own[t.name][0] * own[t.name][1], joined[t.name][0]], dim=1).detach(),
            torch.cat([own[t.name][2], joined[t.name][1]]).detach(),
        )
        for t in TARGETS
    }
    with torch.no_grad():
        expected = features(fold(BASE.module, TARGETS, merged), IMAGES)
        torch.testing.assert_close(features(model, IMAGES), expected, rtol=1e-3, atol=1e-4)
        set_other_bricks(model, 1.0, {})
        alone = {
            n: LowRank.from_factors((U * S).detach(), V.detach()) for n, (U, S, V) in own.items()
        }
        expected = features(fold(BASE.module, TARGETS, alone), IMAGES)
        torch.testing.assert_close(features(model, IMAGES), expected, rtol=1e-3, atol=1e-4)


def test_the_merge_for_validation_is_what_assemble_makes_by_default() -> None:
    own = factors()
    others = [make_brick(f"s{i}", seed=i, base=BASE) for i in range(SETTINGS.merge_size - 1)]
    coefficient, joined = merges(tuple(others)).largest(own)
    deltas = {n: LowRank.from_factors((U * S).detach(), V.detach()) for n, (U, S, V) in own.items()}
    brick = replace(make_brick("own", seed=9, base=BASE), targets=TARGETS, deltas=deltas)
    merged = assemble([brick, *others], coefficients="root")
    for name, (left, right) in joined.items():
        delta = coefficient * deltas[name].dense() + left @ right
        torch.testing.assert_close(delta, merged.deltas[name].dense(), rtol=1e-4, atol=1e-5)


def test_coefficients_lie_between_a_merges_and_halfway_to_one() -> None:
    simulated, draws = merges(), generator()
    drawn = [simulated.draw(factors(), draws) for _ in range(60)]
    for coefficient, deltas in drawn:
        count = next(iter(deltas.values()))[1].shape[0] / SETTINGS.rank
        least = 1 / math.sqrt(1 + count)
        assert least <= coefficient <= (1 + least) / 2
    sizes = {next(iter(s.values()))[1].shape[0] // SETTINGS.rank for _, s in drawn}
    assert sizes == {1, 2, 3}


def test_random_deltas_are_as_strong_as_the_brick() -> None:
    coefficient, others = merges(merge_size=2).draw(factors(3.0), generator())
    for left, right in others.values():
        norm = torch.linalg.matrix_norm(left @ right)
        assert float(norm) == pytest.approx(coefficient * 3.0 * math.sqrt(SETTINGS.rank), rel=1e-4)


def test_published_bricks_come_before_random_ones() -> None:
    bricks = tuple(make_brick(f"s{i}", seed=i, base=BASE) for i in range(3))
    coefficient, others = merges(bricks).draw(factors(), generator())
    name = TARGETS[0].name
    known = [b.deltas[name] for b in bricks]
    left, right = others[name]
    rank = known[0].rank
    for first in range(0, right.shape[0], rank):
        (match,) = [d for d in known if torch.equal(d.Vh, right[first : first + rank])]
        torch.testing.assert_close(
            left[:, first : first + rank], match.U * match.S * coefficient, rtol=1e-6, atol=1e-7
        )


def test_a_step_alone_has_full_strength_and_no_other_delta() -> None:
    assert merges(alone=1.0).draw(factors(), generator()) == (1.0, {})


def test_the_same_draws_give_the_same_merges() -> None:
    first, second = (merges().draw(factors(), generator(3)) for _ in range(2))
    assert first[0] == second[0]
    assert all(
        torch.equal(a, b) for n in first[1] for a, b in zip(first[1][n], second[1][n], strict=True)
    )


def test_others_of_another_base_are_refused() -> None:
    other = make_brick("x", base=make_base(seed=9))
    with pytest.raises(BrickError, match=r"others: .*expected base .*leave it out"):
        train_brick(BASE, make_dataset(), SETTINGS, others=[other], device="cpu")


def test_others_for_training_without_merges_are_refused() -> None:
    other = make_brick("other", seed=5, base=BASE)
    with pytest.raises(SettingsError, match="others: expected with merge_aware, got it without"):
        train_brick(BASE, make_dataset(), TrainSettings(), others=[other], device="cpu")


def test_the_brick_names_the_others_and_training_depends_on_them() -> None:
    quick = TrainSettings(epochs=1, batch_size=6, rank=2, merge_aware=True)
    other = make_brick("other", base=BASE)
    with_other = train_brick(BASE, make_dataset(), quick, others=[other], device="cpu")
    without = train_brick(BASE, make_dataset(), quick, device="cpu")
    assert with_other.settings["company_bricks"] == [other.digest]
    assert "company_bricks" not in without.settings
    assert not torch.equal(with_other.head.weight, without.head.weight)


def test_an_epoch_is_judged_alone_and_in_merges() -> None:
    quick = TrainSettings(epochs=2, batch_size=6, rank=2, merge_aware=True)
    scores = train_brick(BASE, make_dataset(), quick, device="cpu").card.scores
    names = {"accuracy", "balanced_accuracy", "auroc", "loss"}
    assert set(scores) == names | {f"{name}_in_merge" for name in names}


@pytest.mark.parametrize("parametrisation", ["svd", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_going_on_starts_where_the_brick_ended(
    kind: str, parametrisation: Literal["svd", "lora"]
) -> None:
    data = make_dataset(kind=kind)
    quick = TrainSettings(epochs=2, rank=2, parametrisation=parametrisation, augment=False)
    first = train_brick(BASE, data, quick, device="cpu")
    still = quick.model_copy(
        update={"epochs": 1, "learning_rate": 1e-12, "singular_rate": 1e-12, "head_rate": 1e-12}
    )
    second = train_brick(BASE, data, still, start=first, device="cpu")
    assert second.settings["start"] == first.digest
    for name, delta in first.deltas.items():
        torch.testing.assert_close(second.deltas[name].dense(), delta.dense(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second.head.weight, first.head.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(second.head.bias, first.head.bias, rtol=1e-4, atol=1e-5)


def test_going_on_takes_half_the_epochs() -> None:
    settings = TrainSettings()
    assert settings.epochs_for(800) == 20
    assert settings.epochs_for(800, going_on=True) == 10
    assert TrainSettings(epochs=3).epochs_for(800, going_on=True) == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rank": 3}, "rank: expected 3, got 2"),
        ({"targets": ("q",)}, "targets: expected the 2 of the settings, got 4"),
    ],
)
def test_a_start_that_does_not_fit_the_settings_is_refused(
    change: dict[str, object], expected: str
) -> None:
    quick = TrainSettings(epochs=1, rank=2)
    first = train_brick(BASE, make_dataset(), quick, device="cpu")
    with pytest.raises(BrickError, match=expected):
        train_brick(
            BASE, make_dataset(), quick.model_copy(update=change), start=first, device="cpu"
        )


def test_a_start_of_another_task_or_base_is_refused() -> None:
    quick = TrainSettings(epochs=1, rank=2)
    other = make_brick("other", base=make_base(seed=9), count=4)
    with pytest.raises(BrickError, match=r"(?s)start 'other':.*base: expected.*task: expected"):
        train_brick(BASE, make_dataset(), quick, start=other, device="cpu")
