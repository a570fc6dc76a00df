"""Images of no task in particular: what a brick that is being trained should leave alone.

A third of them are the four modalities as they are drawn, a third the same in arbitrary colours,
inverted or not, and a third smooth noise with soft spots. They stand for whatever another
hospital's images may be; nothing of those is known.
"""

from __future__ import annotations

import numpy as np

from medlego.samples import ArrayImages
from medlego.synthetic.canvas import Array, inside, posed, smooth, white
from medlego.synthetic.modalities import MODALITIES


def stranger_images(
    count: int, *, size: int, without: str | None = None, seed: int = 0
) -> ArrayImages:
    """Draw images, uint8 (count, size, size, 3); the same seed gives the same bytes.

    Args:
        count: at least 1.
        size: height and width in pixels.
        without: DICOM code of a modality to leave out: to its bricks such images are no strangers.
        seed: not negative.
    """
    sources = np.random.SeedSequence(seed).spawn(count)
    modalities = [module for module in MODALITIES if module.TASK.modality != without]
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    for number, source in enumerate(sources):
        rng = np.random.default_rng(source)
        if number % 3 == 2:
            image = _blotches(size, rng)
        else:
            module = modalities[number // 3 % len(modalities)]
            image = module.draw(int(rng.integers(len(module.TASK.labels))), size, rng)
            image = image if image.ndim == 3 else image[:, :, None].repeat(3, axis=2)
            image = _recoloured(image, rng) if number % 3 else image
        pixels[number] = np.clip(image, 0, 1) * 255 + 0.5
    return ArrayImages(pixels)


def _recoloured(image: Array, rng: np.random.Generator) -> Array:
    """Black and white become two arbitrary colours."""
    low, high = rng.uniform(0, 1, (2, 3)).astype(np.float32)
    recoloured: Array = low + (high - low) * image
    return recoloured


def _blotches(size: int, rng: np.random.Generator) -> Array:
    """A tinted ground of smooth and fine noise, with up to five soft spots on it."""
    ground = _colour(rng)
    shade = smooth(size, rng, int(rng.integers(2, 24))) + rng.uniform(0, 0.7) * white(size, rng)
    image = ground + rng.uniform(0.03, 0.3) * shade[:, :, None] * _colour(rng)
    for _ in range(int(rng.integers(0, 6))):
        x, y = posed(size, rng, turn=1.0, shift=0.8, zoom=0.3, warp=0.1)
        spot = inside(np.hypot(x, y) - rng.uniform(0.05, 0.5), rng.uniform(0.02, 0.3))
        share = rng.uniform(0.2, 1.0) * spot[:, :, None]
        image = image * (1 - share) + share * _colour(rng)
    return image


def _colour(rng: np.random.Generator) -> Array:
    """A colour, as often as not a grey, (3,)."""
    colour = rng.uniform(0, 1, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 1))
    return colour.astype(np.float32)
