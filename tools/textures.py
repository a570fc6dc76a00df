"""Procedural pictures of nothing in particular: overlapping leaves with cloudy textures."""

from __future__ import annotations

import numpy as np


def leaves(size: int, rng: np.random.Generator) -> np.ndarray:
    """Discs and boxes of random colour and texture that cover each other ("dead leaves").

    Returns:
        uint8 (size, size, 3). Half of them are grey.
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = rng.uniform(0, 255, 3)
    for _ in range(int(rng.integers(8, 40))):
        y, x = rng.uniform(-0.1, 1.1, 2) * size
        radius = size * min(0.5, 0.04 / max(rng.uniform(), 0.03))
        turn, stretch = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
        u = (rows - y) * np.cos(turn) + (columns - x) * np.sin(turn)
        v = ((columns - x) * np.cos(turn) - (rows - y) * np.sin(turn)) / stretch
        inside = (np.abs(u) + np.abs(v) if rng.uniform() < 0.3 else np.hypot(u, v)) < radius
        wave = np.sin(u * rng.uniform(0.1, 2.0) + v * rng.uniform(0.1, 2.0)) * rng.uniform(0, 50)
        shade = rng.uniform(0, 255, 3) + (wave + u / radius * rng.uniform(-40, 40))[..., None]
        picture[inside] = shade[inside]
    picture += cloud(size, rng)[..., None] * rng.uniform(0, 60)
    picture += rng.normal(0, rng.uniform(0, 12), picture.shape)
    if rng.uniform() < 0.5:
        picture[:] = picture.mean(axis=2, keepdims=True)
    return picture.clip(0, 255).astype(np.uint8)


def cloud(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a 1/f spectrum, mean 0 and deviation 1, (size, size)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    frequency[0, 0] = 1.0
    shape = frequency.shape
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (size, size))
    result: np.ndarray = noise / noise.std()
    return result
