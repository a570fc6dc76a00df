"""The profile of a training set: one pass of its images through the frozen base's first blocks."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from medlego.base import Base, Inputs, depth
from medlego.bricks import (
    MIN_PROFILE_IMAGES,
    STEM_BLOCKS,
    Noise,
    Profile,
    Reference,
    fit_private_profile,
    fit_profile,
)
from medlego.data import MAX_SIZE, MIN_SIZE, SYNTHETIC_TASKS, synthetic_dataset
from medlego.errors import SettingsError
from medlego.prediction import Backbone, features_of
from medlego.support import Progress, silent
from medlego.train.settings import TrainSettings

PUBLIC = 32
"""Procedural images of each kind that noise is measured by."""


def measure_features(
    base: Base,
    inputs: Inputs,
    *,
    blocks: int = STEM_BLOCKS,
    device: str = "cpu",
    show: Progress = silent,
) -> Tensor:
    """Stem features of images as they are, (N, d), on the CPU.

    Args:
        base: frozen, unadapted.
        inputs: the images.
        blocks: of the stem.
        device: for the pass, in float32.
        show: called with what is under way, done and total.

    Raises:
        SettingsError: more blocks than the base has.

    Cost: `blocks` of the base's blocks an image.
    """
    if not 0 <= blocks <= (most := depth(base.module)):
        raise SettingsError(f"profile: expected a stem of 0 to {most} blocks, got {blocks}")
    read = partial(Backbone(base, device=device).stem_features, blocks=blocks)
    return features_of(read, inputs, show, "profile")


def reference(base: Base, *, blocks: int = STEM_BLOCKS, device: str = "cpu") -> Reference:
    """Stem features of procedural images of every kind, the same for everybody."""
    size = min(max(base.ref.image_size, MIN_SIZE), MAX_SIZE)
    kinds = []
    for name in SYNTHETIC_TASKS:
        drawn = synthetic_dataset(name, size=size, counts=(PUBLIC, 8, 8), seed=0).train.images
        kinds.append(measure_features(base, Inputs(drawn, base), blocks=blocks, device=device))
    return Reference.of(kinds)


def make_profile(
    base: Base,
    inputs: Inputs,
    settings: TrainSettings,
    *,
    device: str = "cpu",
    show: Progress = silent,
) -> Profile | None:
    """The profile that the settings ask for; None where they or too few images forbid it.

    Raises:
        SettingsError: a delta of the noise that is too large for so few images.
    """
    if not settings.profile or len(inputs) < MIN_PROFILE_IMAGES:
        return None
    features = measure_features(base, inputs, device=device, show=show)
    if settings.profile_epsilon is None:
        return fit_profile(features, seed=settings.seed)
    noise = Noise(epsilon=settings.profile_epsilon, delta=settings.profile_delta)
    return fit_private_profile(features, reference(base, device=device), noise)
