"""The pieces of `benchmarks.depths` and `benchmarks.membership` that numbers hang on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.depths import Gaussian
from benchmarks.membership import ATTACKS, measured, standardised
from medlego.bricks import fit_profile


def test_a_gaussian_measures_mahalanobis_distances() -> None:
    features = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)).double()
    features = features @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]).double() + 5
    inverse = torch.linalg.inv(features.T.cov(correction=0))
    apart = features[:9] - features.mean(dim=0)
    expected = ((apart @ inverse) * apart).sum(dim=1).log()
    # Ledoit and Wolf shrink by a share of one in the number of images
    assert torch.allclose(Gaussian(features).log_distance(features[:9]), expected, atol=2e-3)


def cohorts(shift: float) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = torch.Generator().manual_seed(0)
    draws = (torch.randn(2, 30, generator=generator) * k + k for k in range(1, 201))
    return [standardised(members + shift * members.std(), others) for members, others in draws]


def test_no_attack_is_pooled_to_chance() -> None:
    auc, found = measured(cohorts(0))
    assert auc == pytest.approx(0.5, abs=0.01)
    assert found == pytest.approx(0.01, abs=0.004)


def test_an_attack_is_seen_through_the_scales_of_cohorts() -> None:
    auc, found = measured(cohorts(2))
    assert auc > 0.9
    assert found > 0.3


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_finds_the_members_of_a_small_exact_profile(name: str) -> None:
    scores = []
    for seed in range(20):
        drawn = torch.randn(24 + 24 + 200, 40, generator=torch.Generator().manual_seed(seed))
        members, others, known = drawn[:24], drawn[24:48], drawn[48:]
        published, own = fit_profile(members), fit_profile(known)
        sides = (ATTACKS[name](published, own, images) for images in (members, others))
        scores.append(standardised(*sides))
    assert measured(scores)[0] > 0.75
