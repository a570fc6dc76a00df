"""Images that no brick knows, and known images as another device might have made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from medlego.data import SYNTHETIC_TASKS, ArrayImages, Samples, synthetic_dataset

COUNT = 100
SIDE = 112
SEED = 5


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    smooth = gaussian_filter(rng.normal(size=(COUNT, SIDE, SIDE)), (0, 4, 4))
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def _documents(rng: np.random.Generator) -> np.ndarray:
    """Pages of dark text on white, as an archive's scanned letters are."""
    pages = []
    letters = list("abcdefghijklmnop  rstuvw")
    for _ in range(COUNT):
        page = Pillow.new("L", (2 * SIDE, 2 * SIDE), 255)
        pen = ImageDraw.Draw(page)
        for top in range(5, 2 * SIDE - 9, int(rng.integers(9, 18))):
            words = "".join(rng.choice(letters, int(rng.integers(10, 40))))
            pen.text((8, top), words, fill=int(rng.integers(0, 90)))
        pages.append(np.array(page.resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)))
    return np.stack(pages)


def _photographs(rng: np.random.Generator) -> np.ndarray:
    """Crops of scikit-learn's two photographs, a temple and a flower."""
    crops = []
    for photograph in load_sample_images().images:
        height, width, _ = photograph.shape
        for _ in range(COUNT // 2):
            side = int(rng.integers(SIDE, 400))
            top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
            crop = Pillow.fromarray(photograph[top : top + side, left : left + side])
            crops.append(np.array(crop.resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)))
    return np.stack(crops)


_DRAWN: Mapping[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "clouds": _clouds,
    "documents": _documents,
    "photographs": _photographs,
}
NAMES = (*_DRAWN, *SYNTHETIC_TASKS)


@cache
def strangers(name: str) -> ArrayImages:
    """A hundred images of one kind."""
    if name in _DRAWN:
        return ArrayImages(_DRAWN[name](np.random.default_rng(SEED)))
    images = synthetic_dataset(name, size=SIDE, counts=(4, 4, COUNT), seed=SEED).test.images
    assert isinstance(images, ArrayImages)
    return images


_Change = Callable[[Pillow.Image], Pillow.Image]


def _darker(image: Pillow.Image) -> Pillow.Image:
    return image.point([round(255 * (v / 255) ** 1.6) for v in range(256)] * len(image.getbands()))


def _blurred(image: Pillow.Image) -> Pillow.Image:
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _closer(image: Pillow.Image) -> Pillow.Image:
    width, height = image.size
    box = (width // 8, height // 8, width - width // 8, height - height // 8)
    return image.crop(box).resize((width, height), Pillow.Resampling.BILINEAR)


def _flatter(image: Pillow.Image) -> Pillow.Image:
    return ImageEnhance.Contrast(image).enhance(0.6)


DEVICES: Mapping[str, _Change] = {
    "gamma 1.6": _darker,
    "blur of 1.2 px": _blurred,
    "a quarter closer": _closer,
    "contrast 0.6": _flatter,
}


def elsewhere(samples: Samples, device: str) -> ArrayImages:
    """The same images as another device might have made them."""
    assert isinstance(samples.images, ArrayImages)
    change = DEVICES[device]
    changed = [np.array(change(Pillow.fromarray(image))) for image in samples.images.array]
    return ArrayImages(np.stack(changed))
