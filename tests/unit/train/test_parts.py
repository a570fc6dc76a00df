"""What training is made of: augmentation, losses, factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from factories import make_base, make_task
from medlego.data import Kind
from medlego.train import TrainSettings
from medlego.train.augment import Augmentation, augmentation_for
from medlego.train.factors import LoraFactors, SvdFactors
from medlego.train.losses import MAX_POSITIVE_WEIGHT, Loss, class_weights


def of_modality(modality):
    return augmentation_for(make_task().model_copy(update={"modality": modality}))


@pytest.mark.parametrize("modality", ["DX", "CR", None])
def test_radiographs_and_unknown_images_are_never_flipped(modality):
    found = of_modality(modality)
    assert (found.flip_horizontal, found.flip_vertical) == (False, False)


@pytest.mark.parametrize("modality", ["US", "MR", "CT"])
def test_upright_modalities_are_never_turned_upside_down(modality):
    found = of_modality(modality)
    assert (found.flip_horizontal, found.flip_vertical) == (True, False)
    assert found.rotation_deg < 45


def test_a_flip_mirrors_the_image():
    still: dict[str, Any] = {
        "rotation_deg": 0.0,
        "scale": 0.0,
        "shift": 0.0,
        "gain": 0.0,
        "offset": 0.0,
    }
    flip = Augmentation(flip_horizontal=True, **still)
    pixels = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = flip(pixels, torch.Generator().manual_seed(1))
    same = (changed - pixels).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (changed - pixels.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_augmentation_repeats_by_generator_and_stays_in_range():
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    strong = Augmentation(gain=0.9, offset=0.9, rotation_deg=180)
    first, second = (strong(pixels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1


def test_unknown_labels_carry_no_loss():
    loss = Loss(make_task(kind=Kind.MULTILABEL), torch.ones(3))
    logits = torch.tensor([[0.3, -2.0, 5.0]], requires_grad=True)
    loss(logits, torch.tensor([[1.0, float("nan"), float("nan")]])).backward()
    torch.testing.assert_close(
        loss(logits, torch.tensor([[1.0, float("nan"), float("nan")]])),
        F.softplus(torch.tensor(-0.3)),
        rtol=1e-6,
        atol=0,
    )
    assert logits.grad is not None
    assert logits.grad[0, 1:].tolist() == [0.0, 0.0]


def test_a_batch_without_any_known_label_has_zero_loss():
    loss = Loss(make_task(kind=Kind.MULTILABEL), torch.ones(3))
    assert loss(torch.zeros(2, 3), torch.full((2, 3), float("nan"))).item() == 0.0


def test_binary_loss_is_weighted_cross_entropy():
    loss = Loss(make_task(kind=Kind.BINARY), torch.tensor([1.0, 3.0]))
    logits, labels = torch.tensor([[0.5], [-1.0]]), torch.tensor([1, 0])
    expected = (3 * F.softplus(torch.tensor(-0.5)) + F.softplus(torch.tensor(-1.0))) / 4
    torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-6, atol=0)


def test_ordinal_loss_asks_each_threshold():
    loss = Loss(make_task(kind=Kind.ORDINAL), torch.ones(3))
    logits = torch.tensor([[2.0, -1.0]])
    expected = (F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(-1.0))) / 2
    torch.testing.assert_close(loss(logits, torch.tensor([1])), expected, rtol=1e-6, atol=0)


def test_balanced_class_weights_average_one_over_the_images():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(make_task(), labels, balanced=True)
    assert float(weights[labels].mean()) == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose((weights.numpy() * np.bincount(labels)), 10 / 3, rtol=1e-6)


def test_multilabel_weights_ignore_unknown_labels_and_are_bounded():
    labels = np.array([[1, 0, 0], [0, np.nan, 0], [0, 1, 0], [np.nan, 1, 0]], dtype=np.float32)
    weights = class_weights(make_task(kind=Kind.MULTILABEL), labels, balanced=True)
    np.testing.assert_allclose(weights.numpy(), [2.0, 0.5, 4.0], rtol=1e-6)
    rare = np.zeros((1000, 3), dtype=np.float32)
    assert class_weights(make_task(kind=Kind.MULTILABEL), rare, True).max() == MAX_POSITIVE_WEIGHT


@pytest.mark.parametrize("kind", [SvdFactors, LoraFactors])
def test_training_starts_from_a_delta_of_zero(kind):
    factors = kind(make_base().targets(), TrainSettings(rank=2), "cpu")
    assert all(delta.norm() == 0 for delta in factors.deltas().values())


def test_retraction_brings_vectors_back_to_orthonormal_and_keeps_orthonormal_ones():
    factors = SvdFactors(make_base().targets(), TrainSettings(rank=3), "cpu")
    before = [p.detach().clone() for p in next(iter(factors.by_target.values()))]
    factors.retract()
    for old, new in zip(before, next(iter(factors.by_target.values())), strict=True):
        torch.testing.assert_close(new.detach(), old, rtol=0, atol=1e-6)
    with torch.no_grad():
        for U, _, Vh in factors.by_target.values():
            U.add_(0.1 * torch.randn(U.shape, generator=torch.Generator().manual_seed(0)))
            Vh.mul_(1.5)
    factors.retract()
    for U, _, Vh in factors.by_target.values():
        torch.testing.assert_close(U.T @ U, torch.eye(3), rtol=0, atol=1e-6)
        torch.testing.assert_close(Vh @ Vh.T, torch.eye(3), rtol=0, atol=1e-6)
