"""Near-duplicates among many images: candidates by descriptor, confirmed on thumbnails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from medlego.data.leaks.alignment import Texture, likeness, texture
from medlego.data.leaks.descriptors import describe, similarity
from medlego.support import Progress, silent

LIKE = 0.93
"""Likeness from which two images are near-duplicates (decision 024 says how it was chosen)."""
CANDIDATES = 3
"""Images of each part that are compared with an image, those with the nearest descriptors."""
SIMILAR = 0.8
"""Similarity of descriptors below which images are not compared."""

_ROWS = 512
_PAIRS = 128


def near_duplicates(
    thumbnails: Tensor,
    parts: np.ndarray,
    *,
    like: float = LIKE,
    show: Progress = silent,
) -> Iterator[tuple[int, int, float]]:
    """Pairs of images that look like copies of one another.

    Args:
        thumbnails: (n, SIDE, SIDE) uint8.
        parts: (n,) integers: which part (data set and split) an image belongs to. An image is
            compared with its nearest in every part, its own included.
        like: likeness from which a pair is reported.
        show: called with how many pairs are compared.

    Yields:
        Two indices, the lower first, and the likeness of the two.
    """
    pairs = candidates(batched_descriptors(thumbnails), parts)
    textures = _Textures(thumbnails)
    for start in range(0, len(pairs), _PAIRS):
        show("comparing", start, len(pairs))
        block = torch.from_numpy(pairs[start : start + _PAIRS])
        first, second = (textures.take(side) for side in block.T)
        for (one, other), value in zip(block.tolist(), likeness(first, second), strict=True):
            if value >= like:
                yield one, other, float(value)
    show("compared", len(pairs), len(pairs))


def batched_descriptors(thumbnails: Tensor) -> Tensor:
    """`describe`, a block at a time."""
    return torch.cat([describe(block) for block in torch.split(thumbnails, _ROWS)])


def candidates(descriptors: Tensor, parts: np.ndarray) -> np.ndarray:
    """Pairs worth comparing, (m, 2) int64, the lower index first, in order.

    Args:
        descriptors: (n, zooms, width).
        parts: (n,) integers.
    """
    near_pairs = []
    for part in np.unique(parts):
        members = torch.from_numpy(np.flatnonzero(parts == part))
        theirs = descriptors[members]
        for start in range(0, len(descriptors), _ROWS):
            rows = torch.arange(start, min(start + _ROWS, len(descriptors)))
            alike = similarity(descriptors[rows], theirs)
            alike[rows[:, None] == members] = -1.0
            best = alike.topk(min(CANDIDATES, len(members)), dim=1)
            near = best.values >= SIMILAR
            pairs = torch.stack([rows[:, None].expand_as(near)[near], members[best.indices[near]]])
            near_pairs.append(pairs.sort(dim=0).values.T.numpy())
    return np.unique(np.concatenate(near_pairs), axis=0)


class _Textures:
    """The textures of many thumbnails in 12 kB each."""

    def __init__(self, thumbnails: Tensor) -> None:
        textures = (texture(block) for block in torch.split(thumbnails, _ROWS))
        parts = [(block.values.half(), block.valid.bool()) for block in textures]
        self._values, self._valid = (torch.cat(part) for part in zip(*parts, strict=True))

    def take(self, indices: Tensor) -> Texture:
        return Texture(self._values[indices].float(), self._valid[indices].float())
