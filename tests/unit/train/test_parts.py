"""What training is made of: augmentation, losses, factors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from factories import make_base, make_pixels, make_task
from medlego.train import TrainSettings
from medlego.train.augment import Augmentation, augmentation_for
from medlego.train.factors import LoraFactors, SvdFactors


def of_modality(modality):
    return augmentation_for(make_task().model_copy(update={"modality": modality}))


@pytest.mark.parametrize("modality", ["DX", "CR", None])
def test_radiographs_and_unknown_images_are_never_flipped(modality):
    augmentation = of_modality(modality)
    assert (augmentation.flip_horizontal, augmentation.flip_vertical) == (False, False)


@pytest.mark.parametrize("modality", ["US", "MR", "CT"])
def test_upright_modalities_are_never_turned_upside_down(modality):
    augmentation = of_modality(modality)
    assert (augmentation.flip_horizontal, augmentation.flip_vertical) == (True, False)
    assert augmentation.rotation_deg < 45


def test_a_flip_mirrors_the_image():
    still: dict[str, Any] = {
        "rotation_deg": 0.0,
        "scale": 0.0,
        "shift": 0.0,
        "gain": 0.0,
        "offset": 0.0,
    }
    flip = Augmentation(flip_horizontal=True, **still)
    pixels = make_pixels(64, size=8)
    changed = flip(pixels, torch.Generator().manual_seed(1))
    same = (changed - pixels).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (changed - pixels.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_augmentation_repeats_by_generator_and_stays_in_range():
    pixels = make_pixels(5)
    strong = Augmentation(gain=0.9, offset=0.9, rotation_deg=180)
    first, second = (strong(pixels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1


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
