"""The Gram matrices of a trained brick: one more pass over the training images."""

from __future__ import annotations

from medlego.base import Base, Inputs, input_moments
from medlego.bricks import MIN_GRAM_IMAGES, Brick, Gram, fold, on_device
from medlego.errors import SettingsError
from medlego.support import Progress, one_thread, silent


def check_images(count: int) -> None:
    """Refuse to take Grams of few images, which would say too much about each.

    Raises:
        SettingsError: fewer than `MIN_GRAM_IMAGES`.
    """
    if count < MIN_GRAM_IMAGES:
        raise SettingsError(
            f"gram: expected at least {MIN_GRAM_IMAGES} training images, got {count}; "
            "train without it, or with more images"
        )


def measure_grams(
    base: Base,
    brick: Brick,
    inputs: Inputs,
    directions: int,
    *,
    device: str = "cpu",
    show: Progress = silent,
) -> dict[str, Gram]:
    """What goes into each adapted module of a brick on its base, as Gram matrices.

    Args:
        base: the brick's base.
        brick: folded in, so that inputs are those that the trained model sees.
        inputs: the training images, as they are.
        directions: leading eigenvectors to keep, or all where a module has fewer inputs.
        device: for the forward pass, in float32, and the sums, in float64.
        show: called with what is under way, done and total.

    Returns:
        One Gram per module path; q, k and v of one block share theirs.

    Raises:
        SettingsError: fewer than `MIN_GRAM_IMAGES` images.

    Cost: one forward pass an image, n · in² a module for n tokens in all, and in³ once.
    """
    check_images(len(inputs))
    model = on_device(fold(base.module, brick.targets, brick.deltas), device)
    batches = inputs.batches(show=show, what="input statistics")
    moments = input_moments(base, model, brick.targets, batches)
    with one_thread():
        return {m: Gram.of(g.cpu(), directions, len(inputs)) for m, g in moments.items()}
