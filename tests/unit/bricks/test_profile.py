"""Profiles: what is kept of training images, and how far other images are from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories import make_base, make_dataset, make_features, make_pixels
from medlego.base import Inputs, embed, stem_features, through
from medlego.bricks import MIN_PROFILE_IMAGES, fit_profile
from medlego.bricks.profile import (
    MAX_BYTES,
    MAX_PROFILE_DIRECTIONS,
    SMALLEST,
    directions_for,
    profile_problems,
)
from medlego.errors import SettingsError
from medlego.train.profiles import measure_features


def features(images: int = 400, seed: int = 0) -> torch.Tensor:
    return make_features(24, images=images, seed=seed)


def test_own_images_have_ood_scores_of_mean_0_and_deviation_1():
    scores = fit_profile(features()).ood_score(features(seed=1))
    assert abs(float(scores.mean())) < 0.2
    assert 0.8 < float(scores.std()) < 1.2


def test_the_squared_distance_is_mahalanobis_with_the_kept_covariance():
    profile = fit_profile(features())
    gram = profile.correlation
    V = gram.vectors.double().numpy()
    correlation = (V * (gram.values.double().numpy() - float(gram.rest))) @ V.T
    correlation += float(gram.rest) * np.eye(len(V))
    scale = profile.scale.double().numpy()
    covariance = correlation * np.outer(scale, scale)
    apart = features(7, seed=3).double().numpy() - profile.mean.double().numpy()
    expected = np.einsum("ni,ni->n", apart, np.linalg.solve(covariance, apart.T).T)
    distances = profile.squared_distance(features(7, seed=3)).numpy()
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


def test_shifted_images_score_higher_the_further_they_are():
    profile, own = fit_profile(features()), features(100, seed=1)
    steps = [profile.ood_score(own + shift).mean() for shift in (0, 1, 3, 9)]
    assert steps == sorted(steps)
    assert steps[-1] > 5


def test_distances_were_measured_on_images_that_the_gaussian_had_not_seen():
    few = features(40)
    profile = fit_profile(few)
    fresh = profile.ood_score(features(400, seed=1)).mean()
    seen = profile.ood_score(few).mean()
    assert seen < -0.3
    assert abs(fresh) < abs(seen) * 2


def test_too_few_images_give_no_profile():
    with pytest.raises(SettingsError, match=f"at least {MIN_PROFILE_IMAGES} training images"):
        fit_profile(features(15))
    assert fit_profile(features(MIN_PROFILE_IMAGES)).images == MIN_PROFILE_IMAGES


def test_features_that_are_not_finite_are_refused():
    broken = features()
    broken[3, 4] = float("nan")
    with pytest.raises(SettingsError, match="expected finite features"):
        fit_profile(broken)


def test_images_that_are_all_the_same_still_give_a_sound_profile():
    profile = fit_profile(torch.ones(20, 24))
    assert profile_problems(profile) == []
    assert float(profile.scale.min()) == pytest.approx(SMALLEST)
    assert float(profile.ood_score(torch.zeros(1, 24))) > 100


@pytest.mark.parametrize("images", [16, 64, 200, 5000])
@pytest.mark.parametrize("width", [2 * 192, 2 * 768, 2 * 1024])
def test_a_profile_takes_a_few_tens_of_kilobytes(images, width):
    directions = directions_for(images, width)
    assert 1 <= directions <= min(MAX_PROFILE_DIRECTIONS, images // 8)
    assert 4 * (width * (directions + 2) + directions + 3) <= MAX_BYTES + 100


def test_same_features_give_the_same_bytes_and_another_seed_other_folds():
    first, second, other = (fit_profile(features(), seed=seed) for seed in (0, 0, 1))
    pairs = zip(first.tensors().values(), second.tensors().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.distance, other.distance)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mean": torch.full((24,), torch.inf)}, "mean: expected finite numbers"),
        ({"scale": torch.zeros(24)}, "scale: expected numbers above 0, got 0"),
        ({"distance": torch.tensor([1.0, 0.0])}, "distance: expected a deviation above 0, got 0"),
        ({"distance": torch.tensor([1.0, torch.nan])}, "distance: expected finite numbers"),
    ],
)
def test_what_is_wrong_is_named(change, says):
    (problem,) = profile_problems(replace(fit_profile(features()), **change))
    assert problem.startswith(says)


def test_stem_features_are_mean_and_deviation_of_normalised_patch_tokens():
    base = make_base()
    pixels = make_pixels(3)
    tokens = through(base.module, embed(base.module, base.normalise(pixels)), 0, 1)
    patches = tokens[:, 1:].double().numpy()
    patches = patches - patches.mean(axis=2, keepdims=True)
    patches /= np.sqrt((patches**2).mean(axis=2, keepdims=True) + 1e-5)
    expected = np.concatenate([patches.mean(axis=1), patches.std(axis=1)], axis=1)
    vectors = stem_features(base.module, tokens)
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(vectors.norm(dim=1).numpy(), 24**0.5, rtol=1e-4)


def test_walking_all_blocks_is_the_base_itself():
    from medlego.base import features as pooled
    from medlego.base import pool

    base = make_base(depth=3)
    inputs = make_pixels(2)
    tokens = through(base.module, embed(base.module, inputs), 0, 2)
    outputs = pool(base.module, through(base.module, tokens, 2))
    torch.testing.assert_close(outputs, pooled(base.module, inputs), rtol=0, atol=1e-6)


def test_a_stem_deeper_than_the_base_is_refused():
    base = make_base()
    inputs = Inputs(make_dataset(images=3).train.images, base)
    with pytest.raises(SettingsError, match="expected a stem of 0 to 2 blocks, got 3"):
        measure_features(base, inputs, blocks=3)
