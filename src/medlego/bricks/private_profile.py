"""A profile released with Gaussian noise: differentially private of each image among the others.

Features are measured in units of public ones (procedural images through the same base) and clipped
to a ball. Three things of them leave with noise: their mean; their second moments about it along a
few public directions, those in which procedural images of one kind vary most; and the mean of what
is left, squared. Together they are one Gaussian mechanism, calibrated exactly (Balle and Wang
2018, arXiv:1805.06530, theorem 8). Neighbours differ in one image; the count is public.

Noise never comes from a training seed, which a brick states and with which anybody could take the
noise off again. So a private profile is the one thing that two runs do not repeat.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from medlego.bricks.gram import Gram
from medlego.bricks.profile import SMALLEST, STEM_BLOCKS, Noise, Profile, check_features
from medlego.errors import SettingsError
from medlego.support import ShortRepr

RADIUS = 4.0
"""Clipping radius of features, in public deviations a feature: ‖y‖ ≤ RADIUS · √d."""
INNER_RADIUS = 3.0
"""The same of what is left of them about the released mean."""
DIRECTIONS = 4
SPREAD = 0.25
"""Deviation of log d² that is taken for granted; profiles of five real sets have .16 to .38."""
BUDGET = (0.5, 0.4, 0.1)
"""Shares of the privacy budget: mean, second moments, rest."""
LEAST_VARIANCE = 0.02


@dataclass(frozen=True, eq=False, repr=False)
class Reference(ShortRepr):
    """Public stem features, float64: their mean (d,), their deviation within a kind of image (d,),
    and the leading directions in which images of a kind vary, in units of it (d, k).
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor

    @classmethod
    def of(cls, kinds: list[Tensor]) -> Reference:
        """Of several kinds of images, each (N, d)."""
        about = [kind.double() - kind.double().mean(dim=0) for kind in kinds]
        within = torch.stack([a.T @ a / len(a) for a in about]).mean(dim=0)
        scale = within.diagonal().sqrt().clamp(min=SMALLEST)
        _, vectors = torch.linalg.eigh(within / scale / scale[:, None])
        directions = vectors.flip(1)[:, :DIRECTIONS].contiguous()
        return cls(torch.cat(kinds).double().mean(dim=0), scale, directions)


def check_delta(delta: float, count: int) -> None:
    """Refuse a δ that would allow to publish an image whole.

    Raises:
        SettingsError: no less than one over the number of images.
    """
    if delta >= 1 / count:
        raise SettingsError(
            f"profile noise: expected a delta below one in {count} images, got {delta:g}; "
            "choose a smaller one"
        )


def gaussian_sigma(noise: Noise) -> float:
    """The least noise multiplier of a query of L2 sensitivity 1 that gives (ε, δ)."""
    epsilon, delta = noise.epsilon, noise.delta

    def over(sigma: float) -> float:
        half, shift = 1 / (2 * sigma), epsilon * sigma
        log_tail = epsilon + norm.logcdf(-half - shift)
        return float(norm.cdf(half - shift) - math.exp(log_tail) - delta)

    return float(brentq(over, 1e-4, 1e6, xtol=1e-9))


def fit_private_profile(
    features: Tensor,
    reference: Reference,
    noise: Noise,
    *,
    blocks: int = STEM_BLOCKS,
    generator: torch.Generator | None = None,
) -> Profile:
    """The profile of stem features, released with noise.

    Args:
        features: (N, d), of the training images.
        reference: of public images through the same blocks of the same base.
        noise: (ε, δ), of replacing one image.
        blocks: of the stem that gave them; kept.
        generator: for tests; by default one seeded by the system's source of secrets.

    Raises:
        SettingsError: as `check_features`, or a δ that is no less than one over the number of
            images.
    """
    check_features(features)
    count, width = features.shape
    check_delta(noise.delta, count)
    if generator is None:
        generator = torch.Generator().manual_seed(secrets.randbits(63))
    sigma = gaussian_sigma(noise)
    multipliers = [sigma / math.sqrt(share) for share in BUDGET]

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    radius, inner = (r * math.sqrt(width) for r in (RADIUS, INNER_RADIUS))
    units = _clipped((features.double() - reference.mean) / reference.scale, radius)
    of_mean = multipliers[0] * 2 * radius / count
    mean = units.mean(dim=0) + of_mean * drawn(width)
    along = _clipped((units - mean) @ reference.directions, inner)
    beside = (units - mean) - ((units - mean) @ reference.directions) @ reference.directions.T
    size = along.shape[1]
    # a symmetric matrix as a vector of its upper triangle, off-diagonal entries times √2
    noisy = multipliers[1] * math.sqrt(2) * inner**2 / count * drawn(size, size)
    noisy = noisy.triu() + noisy.triu(1).T
    noisy = noisy / math.sqrt(2) + torch.diag(noisy.diagonal()) * (1 - 1 / math.sqrt(2))
    moments = along.T @ along / count + noisy
    squares = _clipped(beside, inner).square().sum(dim=1).mean()
    rest = float(squares + multipliers[2] * inner**2 / count * drawn(1)) / (width - size)
    rest = max(rest, LEAST_VARIANCE)
    values, vectors = torch.linalg.eigh(moments)
    order = values.argsort(descending=True)
    leading = (values[order] / rest).clamp(min=1.0)
    V = torch.linalg.qr((reference.directions @ vectors[:, order]).float())[0]
    return Profile(
        blocks=blocks,
        mean=(reference.mean + reference.scale * mean).float(),
        scale=(reference.scale * math.sqrt(rest)).float(),
        correlation=Gram(V.contiguous(), leading.float(), torch.ones(1), count),
        distance=torch.tensor([math.log(width) - SPREAD**2 / 2, SPREAD]),
        noise=noise,
    )


def _clipped(rows: Tensor, radius: float) -> Tensor:
    """Rows no longer than a radius."""
    return torch.mul(rows, radius / rows.norm(dim=1, keepdim=True).clamp(min=radius))
