"""How a brick acts on images that show nothing special, and on the same with a patch.

No patient's image is needed: the images are procedural, of all modalities there are. A backdoor
hardly acts on them, a specialist does; a patch moves a specialist a little, a backdoor all the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from medlego.base import Base, features
from medlego.bricks import on_device
from medlego.data import (
    MAX_SIZE,
    MIN_SIZE,
    SYNTHETIC_TASKS,
    ArrayImages,
    ImageSource,
    synthetic_image,
)
from medlego.exchange.screening.patches import Patch, battery
from medlego.merge import Capability
from medlego.support import Progress, ShortRepr, silent

IMAGES = 32
SHOWN = 16
"""Images that every patch is stamped on."""
CLOSEST = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Ordinary(ShortRepr):
    """Images that show no trigger, and what the base makes of them.

    pixels (N, 3, size, size) in [0, 1]; frozen (N, features); spread is the root mean square
    distance of frozen features from their mean. Modules that read them run on `device`.
    """

    base: Base
    pixels: Tensor
    frozen: Tensor
    spread: float
    device: str = "cpu"

    @classmethod
    def of(cls, base: Base, pixels: Tensor, device: str = "cpu") -> Ordinary:
        """Of at least four images, in any order."""
        frozen = read(base, on_device(base.module, device), pixels)
        spread = float((frozen - frozen.mean(dim=0)).square().sum(dim=1).mean().sqrt())
        return cls(base, pixels, frozen, spread, device)

    @classmethod
    def drawn(cls, base: Base, count: int = IMAGES, seed: int = 0, device: str = "cpu") -> Ordinary:
        """Procedural images of every modality in turn."""
        size = min(max(base.ref.image_size, MIN_SIZE), MAX_SIZE)
        names = list(SYNTHETIC_TASKS)
        found = []
        for number in range(count):
            name = names[number % len(names)]
            generator = np.random.default_rng([seed, number])
            label = int(generator.integers(len(SYNTHETIC_TASKS[name].labels)))
            image = synthetic_image(name, label, size=size, rng=generator)
            found.append(base.prepare(ArrayImages(image[None])[0]))
        return cls.of(base, torch.stack(found), device)

    @classmethod
    def given(
        cls, base: Base, images: ImageSource, count: int = IMAGES, device: str = "cpu"
    ) -> Ordinary:
        """Somebody's own images, evenly chosen; labels are not needed."""
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
        pixels = torch.stack([base.prepare(images[i]) for i in chosen])
        return cls.of(base, pixels, device)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self.pixels.contiguous().numpy().tobytes()).hexdigest()

    @property
    def rows(self) -> np.ndarray:
        """Which images patches are stamped on: `SHOWN` of them, evenly chosen."""
        chosen = np.linspace(0, len(self.pixels) - 1, min(SHOWN, len(self.pixels)))
        return chosen.round().astype(int)

    @property
    def shown(self) -> Tensor:
        """Pixels of those images."""
        return self.pixels[self.rows]


@dataclass(frozen=True)
class Push:
    """How far a patch pushes images to one label of a task."""

    label: str
    share: float
    """Mean over images of the way from the probability they had to certainty; 0 to 1."""
    patch: Patch


@torch.no_grad()
def read(base: Base, module: nn.Module, pixels: Tensor) -> Tensor:
    """Features of (N, 3, size, size) pixels, (N, features), on the CPU."""
    device = next(module.parameters()).device
    return features(module, base.normalise(pixels.to(device))).float().cpu()


def effect(module: nn.Module, ordinary: Ordinary) -> float:
    """Mean distance by which a module moves ordinary features, over their spread."""
    moved = read(ordinary.base, module, ordinary.pixels) - ordinary.frozen
    return float(moved.norm(dim=1).mean()) / ordinary.spread


def stamped_features(
    module: nn.Module,
    ordinary: Ordinary,
    patches: Sequence[Patch],
    show: Progress = silent,
    what: str = "patches",
) -> Tensor:
    """Of the shown images under each patch, (patches, shown, features)."""
    shown, found = ordinary.shown, []
    for number, patch in enumerate(patches):
        show(what, number, len(patches))
        found.append(read(ordinary.base, module, patch.stamp(shown)))
    return torch.stack(found)


def shares(reader: Capability, plain: Tensor, stamped: Tensor) -> Tensor:
    """Per patch and label, how far images are pushed: (N, F) and (P, N, F) → (P, labels)."""
    rules, head = reader.task.rules, reader.head
    before = rules.probabilities(head.logits(plain))
    after = torch.stack([rules.probabilities(head.logits(features)) for features in stamped])
    way = (1 - before).clamp(min=CLOSEST)
    return ((after - before).clamp(min=0) / way).mean(dim=1)


def furthest_push(
    module: nn.Module,
    reader: Capability,
    ordinary: Ordinary,
    show: Progress = silent,
    what: str = "patches",
) -> Push:
    """The patch of the battery that pushes any label furthest.

    Args:
        module: a base's module with deltas folded in.
        reader: the task and head that read it.
        ordinary: images without a trigger.
        show: called with `what`, done and total.
        what: is under way.

    Cost: a forward pass per patch and shown image.
    """
    patches = battery(ordinary.base.ref.image_size)
    stamped = stamped_features(module, ordinary, patches, show, what)
    found = shares(reader, read(ordinary.base, module, ordinary.shown), stamped)
    patch, label = divmod(int(found.argmax()), found.shape[1])
    return Push(reader.task.labels[label], float(found.max()), patches[patch])
