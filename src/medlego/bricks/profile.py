"""A profile: what a brick's training images look like to the frozen base's first blocks, summed up.

One Gaussian over the features of `stem`: a mean, a deviation per feature, and the correlation as
its leading directions and one number for all others. Squared distances d² of images to it are
near log-normal, so mean and deviation of log d² say how far an image of the training's kind lies,
and a brick's profile alone gives another image's out-of-distribution (OOD) score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medlego.bricks.content import TensorGroup
from medlego.bricks.gram import Gram, gram_group, gram_problems
from medlego.errors import SettingsError
from medlego.support import FrozenModel, ShortRepr, one_thread

STEM_BLOCKS = 1
"""Blocks of the stem."""
MIN_PROFILE_IMAGES = 16
"""Fewer images give no profile: a mean of a handful resembles each of them."""
IMAGES_PER_DIRECTION = 8
MAX_PROFILE_DIRECTIONS = 16
MAX_BYTES = 48 << 10
FOLDS = 5
SMALLEST = 1e-4
MAX_EPSILON = 1000.0
MAX_BLOCKS = 1024


class Noise(FrozenModel):
    """Differential privacy of one image among the others: (epsilon, delta)."""

    epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)]
    delta: Annotated[float, Field(gt=0, lt=1)]


class ProfileEntry(FrozenModel):
    """What a brick's document says of its profile."""

    blocks: Annotated[int, Field(ge=0, le=MAX_BLOCKS)]
    directions: Annotated[int, Field(ge=1, le=MAX_PROFILE_DIRECTIONS)]
    images: Annotated[int, Field(ge=MIN_PROFILE_IMAGES)]
    noise: Noise | None


@dataclass(frozen=True, eq=False, repr=False)
class Profile(ShortRepr):
    """Statistics of stem features, float32; d is twice the base's width.

    `mean` and `scale` are (d,): of each feature, the scale above zero. `correlation` is that of
    (feature − mean) / scale, cut short and shrunk. `distance` (2,) holds mean and deviation of
    log d² over training images that the Gaussian had not seen. `noise` says with which noise the
    statistics were released, if with any.
    """

    blocks: int
    mean: Tensor
    scale: Tensor
    correlation: Gram
    distance: Tensor
    noise: Noise | None = None

    @property
    def images(self) -> int:
        """How many images stand behind it."""
        return self.correlation.images

    def squared_distance(self, features: Tensor) -> Tensor:
        """Mahalanobis distances d², (N, d) → (N,), float64."""
        gram = self.correlation
        standard = (features.double() - self.mean) / self.scale
        along = standard @ gram.vectors.double()
        beside = standard.square().sum(dim=1) - along.square().sum(dim=1)
        return torch.add((along.square() / gram.values).sum(dim=1), beside.clamp(min=0) / gram.rest)

    def ood_score(self, features: Tensor) -> Tensor:
        """Out-of-distribution scores, in deviations of log d² from its mean, (N, d) → (N,).

        About standard normal for images of the training's kind, large for all others.
        """
        middle, spread = self.distance.tolist()
        logs = self.squared_distance(features).clamp(min=1e-30).log()
        return torch.div(logs - middle, spread)

    @property
    def entry(self) -> ProfileEntry:
        """What a brick's document says of it."""
        directions, images = self.correlation.directions, self.images
        return ProfileEntry(
            blocks=self.blocks, directions=directions, images=images, noise=self.noise
        )

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name, the correlation's among them."""
        own = {"mean": self.mean, "scale": self.scale, "distance": self.distance}
        return own | self.correlation.tensors()


def directions_for(images: int, width: int) -> int:
    """How many directions a profile of so many images and so wide features keeps, at least 1."""
    fitting = MAX_BYTES // (4 * width) - 2
    return max(1, min(MAX_PROFILE_DIRECTIONS, images // IMAGES_PER_DIRECTION, fitting, width - 1))


def check_features(features: Tensor) -> None:
    """Refuse stem features that cannot become a profile.

    Raises:
        SettingsError: fewer than `MIN_PROFILE_IMAGES` images, or features that are not finite.
    """
    if (count := len(features)) < MIN_PROFILE_IMAGES:
        raise SettingsError(
            f"profile: expected at least {MIN_PROFILE_IMAGES} training images, got {count}; "
            "train with --no-profile, or with more images"
        )
    if not torch.isfinite(features).all():
        raise SettingsError(
            "profile: expected finite features of the base, got NaN or infinity; check the images"
        )


def fit_profile(features: Tensor, *, blocks: int = STEM_BLOCKS, seed: int = 0) -> Profile:
    """The profile of stem features.

    Args:
        features: (N, d), of the training images.
        blocks: of the stem that gave them; kept.
        seed: of the folds in which distances are measured.

    Raises:
        SettingsError: fewer than `MIN_PROFILE_IMAGES` images, or features that are not finite.
    """
    check_features(features)
    count, whole = len(features), features.double()
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randperm(count, generator=generator) % FOLDS
    logs = torch.empty(count, dtype=torch.float64)
    unknown = torch.zeros(2)
    with one_thread():
        for number in range(FOLDS):
            left_out = fold == number
            rest = _gaussian(whole[~left_out], blocks, unknown)
            logs[left_out] = rest.squared_distance(whole[left_out]).clamp(min=1e-30).log()
        spread = logs.std(correction=0).clamp(min=SMALLEST)
        return _gaussian(whole, blocks, torch.stack([logs.mean(), spread]).float())


def _gaussian(features: Tensor, blocks: int, distance: Tensor) -> Profile:
    """Mean, scale and shrunk correlation; Ledoit and Wolf 2004 choose how far it is shrunk."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    count, width = features.shape
    mean = features.mean(dim=0)
    scale = features.std(dim=0, correction=0).clamp(min=SMALLEST)
    standard = (features - mean) / scale
    share = float(ledoit_wolf_shrinkage(standard.numpy(), assume_centered=True))
    correlation = standard.T @ standard / count
    level = correlation.diagonal().mean().clamp(min=SMALLEST)
    shrunk = (1 - share) * correlation + share * level * torch.eye(width, dtype=torch.float64)
    gram = Gram.of(shrunk, directions_for(count, width), count)
    floor = gram.rest.clamp(min=SMALLEST)
    values = gram.values.clamp(min=float(floor))
    gram = Gram(gram.vectors, values, floor, count)
    return Profile(blocks, mean.float(), scale.float(), gram, distance)


def profile_group(width: int, entry: ProfileEntry) -> TensorGroup:
    """The tensors in a file of a profile of `width` features."""
    correlation = gram_group(width, entry.directions, entry.images)

    def make(mean: Tensor, scale: Tensor, distance: Tensor, *gram: Tensor) -> Profile:
        return Profile(entry.blocks, mean, scale, correlation.make(*gram), distance, entry.noise)

    own = {"mean": (width,), "scale": (width,), "distance": (2,)}
    return TensorGroup({**own, **correlation.shapes}, make, profile_problems)


def profile_problems(profile: Profile) -> list[str]:
    """What keeps tensors of the right shapes from being a profile, one `<part>: <rule>` each."""
    vectors = {"mean": profile.mean, "scale": profile.scale, "distance": profile.distance}
    problems = [
        f"{name}: expected finite numbers, got NaN or infinity"
        for name, tensor in vectors.items()
        if not torch.isfinite(tensor).all()
    ]
    if problems:
        return problems
    if (smallest := float(profile.scale.min())) <= 0:
        problems.append(f"scale: expected numbers above 0, got {smallest:g}")
    if (spread := float(profile.distance[1])) <= 0:
        problems.append(f"distance: expected a deviation above 0, got {spread:g}")
    inner = gram_problems(profile.correlation)
    if not inner and float(profile.correlation.rest) <= 0:
        inner = ["rest: expected a number above 0, got 0"]
    return problems + inner
