"""Near-duplicates planted on purpose: an image as somebody else would have stored it again."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image as Pillow

Random = np.random.Generator
_SMOOTH = Pillow.Resampling.BICUBIC


def plant(kind: str, array: np.ndarray, random: Random) -> np.ndarray:
    """A near-duplicate of an image, uint8 (h, w) or (h, w, 3), perhaps of another size."""
    return np.ascontiguousarray(PLANTED[kind](array, random))


def _jpeg(array: np.ndarray, random: Random) -> np.ndarray:
    picture, stream = Pillow.fromarray(array), io.BytesIO()
    picture.save(stream, "JPEG", quality=int(random.integers(25, 80)))
    return np.asarray(Pillow.open(stream).convert(picture.mode))


def _brighter(array: np.ndarray, random: Random) -> np.ndarray:
    return _clipped(array + random.choice([-1, 1]) * random.uniform(20, 50))


def _contrast(array: np.ndarray, random: Random) -> np.ndarray:
    factor = random.choice([random.uniform(0.5, 0.8), random.uniform(1.25, 1.6)])
    return _clipped((array - array.mean()) * factor + array.mean())


def _gamma(array: np.ndarray, random: Random) -> np.ndarray:
    power = random.choice([random.uniform(0.5, 0.8), random.uniform(1.25, 1.8)])
    return _clipped(255 * (array / 255) ** power)


def _rescaled(array: np.ndarray, random: Random) -> np.ndarray:
    factor = random.uniform(0.4, 2)
    height, width = (max(8, int(side * factor)) for side in array.shape[:2])
    return np.asarray(Pillow.fromarray(array).resize((width, height), _SMOOTH))


def _shifted(array: np.ndarray, random: Random) -> np.ndarray:
    picture = Pillow.fromarray(array)
    right, down = random.uniform(-0.1, 0.1, 2) * picture.width
    affine = (1, 0, right, 0, 1, down)
    return np.asarray(
        picture.transform(picture.size, Pillow.Transform.AFFINE, affine, resample=_SMOOTH)
    )


def _turned(array: np.ndarray, random: Random) -> np.ndarray:
    angle = random.choice([-1, 1]) * random.uniform(2, 10)
    return np.asarray(Pillow.fromarray(array).rotate(angle, _SMOOTH))


def _cropped(array: np.ndarray, random: Random) -> np.ndarray:
    picture, share = Pillow.fromarray(array), random.uniform(0.8, 0.95)
    width, height = (int(side * share) for side in picture.size)
    left = int(random.integers(0, picture.width - width + 1))
    top = int(random.integers(0, picture.height - height + 1))
    inner = picture.crop((left, top, left + width, top + height))
    return np.asarray(inner.resize(picture.size, _SMOOTH))


def _framed(array: np.ndarray, random: Random) -> np.ndarray:
    border = int(array.shape[1] * random.uniform(0.05, 0.15))
    return np.pad(array, [(border, border)] * 2 + [(0, 0)] * (array.ndim - 2))


def _mirrored(array: np.ndarray, _random: Random) -> np.ndarray:
    return array[:, ::-1]


def _noisy(array: np.ndarray, random: Random) -> np.ndarray:
    return _clipped(array + random.normal(0, 8, array.shape))


def _mixed(array: np.ndarray, random: Random) -> np.ndarray:
    for step in (_shifted, _contrast, _jpeg):
        array = step(array, random)
    return array


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


PLANTED: Mapping[str, Callable[[np.ndarray, Random], np.ndarray]] = {
    "recompressed (JPEG 25 to 80)": _jpeg,
    "brighter or darker by 20 to 50": _brighter,
    "contrast × 0.5 to 1.6": _contrast,
    "gamma 0.5 to 1.8": _gamma,
    "rescaled × 0.4 to 2": _rescaled,
    "noise, sigma 8": _noisy,
    "mirrored": _mirrored,
    "shifted by up to 10 %": _shifted,
    "turned by 2 to 10 degrees": _turned,
    "cropped to 80 to 95 %": _cropped,
    "framed by 5 to 15 %": _framed,
    "shifted, contrast changed, recompressed": _mixed,
}
