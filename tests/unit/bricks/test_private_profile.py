"""Profiles with noise: how much of it, and what is left of the profile."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from factories import make_base, make_dataset, make_features
from medlego.bricks import Noise, Reference, fit_private_profile
from medlego.bricks.private_profile import BUDGET, RADIUS, gaussian_sigma
from medlego.bricks.profile import profile_problems
from medlego.errors import SettingsError
from medlego.train import TrainSettings, train_brick

WIDTH = 24
PUBLIC = Reference.of([make_features(WIDTH, center, seed=9) for center in (-2.0, 2.0)])
MILD = Noise(epsilon=3.0, delta=1e-5)


def fitted(noise: Noise = MILD, seed: int = 0, images: int = 2000):
    generator = torch.Generator().manual_seed(seed)
    features = make_features(WIDTH, images=images)
    return fit_private_profile(features, PUBLIC, noise, generator=generator)


@pytest.mark.parametrize(
    ("epsilon", "delta", "sigma"), [(1.0, 1e-5, 3.730632), (3.0, 1e-5, 1.390593)]
)
def test_sigma_is_that_of_the_analytic_gaussian_mechanism(epsilon, delta, sigma):
    deviation = gaussian_sigma(Noise(epsilon=epsilon, delta=delta))
    assert deviation == pytest.approx(sigma, abs=1e-5)
    assert deviation < math.sqrt(2 * math.log(1.25 / delta)) / epsilon


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 2.0, 10.0, 1000.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_sigma_gives_exactly_the_delta_that_was_asked_for(epsilon, delta):
    sigma = gaussian_sigma(Noise(epsilon=epsilon, delta=delta))
    half, shift = 1 / (2 * sigma), epsilon * sigma
    actual = norm.cdf(half - shift) - math.exp(epsilon + norm.logcdf(-half - shift))
    assert actual == pytest.approx(delta, rel=1e-3)


def test_the_mean_has_the_noise_that_its_sensitivity_asks_for():
    means = torch.stack([fitted(seed=seed).mean for seed in range(200)]).double()
    spread = (means / PUBLIC.scale).std(dim=0).mean()
    sigma = gaussian_sigma(MILD)
    expected = sigma * 2 * RADIUS * math.sqrt(WIDTH) / 2000 / math.sqrt(BUDGET[0])
    assert float(spread) == pytest.approx(expected, rel=0.05)


def test_one_image_however_far_moves_the_mean_no_more_than_the_sensitivity():
    features = make_features(WIDTH, images=50)
    other = features.clone()
    features[0], other[0] = 1e6, -1e6
    means = []
    for variant in (features, other):
        generator = torch.Generator().manual_seed(0)
        profile = fit_private_profile(variant, PUBLIC, MILD, generator=generator)
        means.append(profile.mean.double() / PUBLIC.scale)
    moved = float((means[0] - means[1]).norm())
    assert moved <= 2 * RADIUS * math.sqrt(WIDTH) / 50 * (1 + 1e-5)
    assert moved > 0.1


def test_less_privacy_lies_nearer_to_the_truth():
    truth = make_features(WIDTH, images=2000).mean(dim=0)
    errors = []
    for epsilon in (0.1, 1.0, 100.0):
        profile = fitted(Noise(epsilon=epsilon, delta=1e-5))
        errors.append(float(((profile.mean - truth) / PUBLIC.scale).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1


def test_a_private_profile_is_sound_and_tells_its_own_images_from_others():
    profile = fitted()
    assert profile_problems(profile) == []
    assert profile.noise == MILD
    own = profile.ood_score(make_features(WIDTH, images=200, seed=3))
    other = profile.ood_score(make_features(WIDTH, 60.0, images=200, seed=3))
    assert float(own.median()) < 1.5
    assert float(other.min()) > 3


@pytest.mark.parametrize("epsilon", [0.001, 0.1, 1000.0])
def test_any_noise_gives_a_sound_profile(epsilon):
    profile = fitted(Noise(epsilon=epsilon, delta=1e-9), images=20)
    assert profile_problems(profile) == []


def test_noise_does_not_come_from_the_training_seed():
    features = make_features(WIDTH, images=100)
    first, second = (fit_private_profile(features, PUBLIC, MILD) for _ in range(2))
    assert not torch.equal(first.mean, second.mean)


def test_a_delta_that_allows_to_publish_an_image_is_refused():
    with pytest.raises(SettingsError, match=r"expected a delta below one in 50 images, got 0\.02"):
        fitted(Noise(epsilon=1.0, delta=0.02), images=50)


def test_too_few_images_are_refused():
    with pytest.raises(SettingsError, match="expected at least 16 training images, got 5"):
        fitted(images=5)


def test_training_states_the_noise_and_leaves_the_rest_alone():
    base, data = make_base(), make_dataset(images=24)
    settings = TrainSettings(epochs=1, rank=2)
    noisy = settings.model_copy(update={"profile_epsilon": 2.0, "profile_delta": 0.01})
    plain, private = (train_brick(base, data, s, device="cpu") for s in (settings, noisy))
    assert private.profile is not None
    assert private.profile.noise == Noise(epsilon=2.0, delta=0.01)
    assert private.settings == plain.settings
    assert torch.equal(private.head.weight, plain.head.weight)
    without = train_brick(base, data, settings.model_copy(update={"profile": False}), device="cpu")
    assert without.profile is None
    with pytest.raises(SettingsError, match="below one in 24 images"):
        train_brick(base, data, noisy.model_copy(update={"profile_delta": 0.5}), device="cpu")


def test_few_images_train_a_brick_without_profile():
    data = make_dataset(images=12)
    assert train_brick(make_base(), data, TrainSettings(epochs=1), device="cpu").profile is None


def test_public_features_do_not_depend_on_anything_but_the_base():
    from medlego.train.profiles import reference

    base = make_base()
    first, second = reference(base), reference(base)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.directions, second.directions)
    other = reference(make_base(seed=1))
    assert not np.allclose(first.mean, other.mean)
