"""How bricks act on images that show nothing special, and on the same with a patch.

No patient's image is needed: the images are procedural, of all modalities there are. A backdoor
hardly acts on them, a specialist does; a patch moves a specialist a little, a backdoor all the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medlego.base import Base
from medlego.data import (
    MAX_SIZE,
    MIN_SIZE,
    SYNTHETIC_TASKS,
    ArrayImages,
    ImageSource,
    synthetic_image,
)
from medlego.exchange.screening.patches import Patch, battery
from medlego.generalist import Generalist
from medlego.merge import Capability
from medlego.prediction import Backbone
from medlego.support import Progress, ShortRepr, silent

IMAGES = 32
SHOWN = 16
"""Images that every patch is stamped on."""
CLOSEST = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Ordinary(ShortRepr):
    """Images that show no trigger, and what the base makes of them.

    pixels (N, 3, size, size) in [0, 1]; frozen (N, features); spread is the root mean square
    distance of frozen features from their mean. They are read on `device`.
    """

    base: Base
    pixels: Tensor
    frozen: Tensor
    spread: float
    device: str = "cpu"

    @classmethod
    def of(cls, base: Base, pixels: Tensor, device: str = "cpu") -> Ordinary:
        """Of at least four images, in any order."""
        frozen = Backbone(base, device=device).features(pixels)
        spread = float((frozen - frozen.mean(dim=0)).square().sum(dim=1).mean().sqrt())
        return cls(base, pixels, frozen, spread, device)

    @classmethod
    def drawn(cls, base: Base, count: int = IMAGES, seed: int = 0, device: str = "cpu") -> Ordinary:
        """Procedural images of every modality in turn."""
        size = min(max(base.ref.image_size, MIN_SIZE), MAX_SIZE)
        names = list(SYNTHETIC_TASKS)
        pixels = []
        for number in range(count):
            name = names[number % len(names)]
            generator = np.random.default_rng([seed, number])
            label = int(generator.integers(len(SYNTHETIC_TASKS[name].labels)))
            image = synthetic_image(name, label, size=size, rng=generator)
            pixels.append(base.prepare(ArrayImages(image[None])[0]))
        return cls.of(base, torch.stack(pixels), device)

    @classmethod
    def of_images(
        cls, base: Base, images: ImageSource, count: int = IMAGES, device: str = "cpu"
    ) -> Ordinary:
        """Somebody's own images, evenly chosen; labels are not needed."""
        rows = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
        pixels = torch.stack([base.prepare(images[i]) for i in rows])
        return cls.of(base, pixels, device)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self.pixels.contiguous().numpy().tobytes()).hexdigest()

    @property
    def rows(self) -> np.ndarray:
        """Which images patches are stamped on: `SHOWN` of them, evenly chosen."""
        rows = np.linspace(0, len(self.pixels) - 1, min(SHOWN, len(self.pixels)))
        return rows.round().astype(int)


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A merge and what it makes of ordinary images: pooled features (N, features)."""

    ordinary: Ordinary
    backbone: Backbone
    readers: Mapping[str, Capability]
    pooled: Tensor

    @classmethod
    def of(cls, merged: Generalist, ordinary: Ordinary) -> Behaviour:
        """Of a generalist's merge of all its bricks.

        Raises:
            GeneralistError: another base than the images'.
        """
        backbone = Backbone.of(merged, ordinary.base, ordinary.device)
        readers = {reader.task.name: reader for reader in merged.readers}
        return cls(ordinary, backbone, readers, backbone.features(ordinary.pixels))

    @property
    def effect(self) -> float:
        """Mean distance by which the deltas move ordinary features, over their spread."""
        moved = self.pooled - self.ordinary.frozen
        return float(moved.norm(dim=1).mean()) / self.ordinary.spread

    @property
    def patches(self) -> tuple[Patch, ...]:
        """The battery for images of this size."""
        return battery(self.ordinary.base.ref.image_size)

    def pushes(self, show: Progress = silent, what: str = "patches") -> dict[str, Tensor]:
        """Per task how far each patch pushes images to each label, (patches, labels); see `shares`.

        Cost: a forward pass per patch and image that patches are stamped on.
        """
        rows, stamped = self.ordinary.rows, []
        for number, patch in enumerate(self.patches):
            show(what, number, len(self.patches))
            stamped.append(self.backbone.features(patch.stamp(self.ordinary.pixels[rows])))
        features = torch.stack(stamped)
        return {
            name: shares(reader, self.pooled[rows], features)
            for name, reader in self.readers.items()
        }


def shares(reader: Capability, plain: Tensor, stamped: Tensor) -> Tensor:
    """Per patch and label, how far images are pushed: (N, F) and (P, N, F) → (P, labels)."""
    rules, head = reader.task.rules, reader.head
    before = rules.probabilities(head.logits(plain))
    after = torch.stack([rules.probabilities(head.logits(features)) for features in stamped])
    way = (1 - before).clamp(min=CLOSEST)
    return ((after - before).clamp(min=0) / way).mean(dim=1)
