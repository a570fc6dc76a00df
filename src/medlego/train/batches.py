"""What training steps and validation read: images, or tokens that were kept after the stem."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from medlego.base import Base, Inputs, embed, features, pool, through
from medlego.data import Dataset, describe
from medlego.errors import DatasetError, TrainingError
from medlego.support import Progress
from medlego.train.augment import augmentation_for
from medlego.train.settings import TrainSettings

EVALUATION_BATCH = 128


class Batches(Protocol):
    """Batches on the device, and what a model whose stem is unadapted makes of them."""

    def train(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        """The training images at `indices`, augmented; `generator` is on the CPU."""
        ...

    def val(self) -> Iterator[Tensor]:
        """All validation images in order, as they are."""
        ...

    def features(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Pooled features (N, features) in float32; the backbone in bfloat16 on a GPU."""
        ...


class ImageBatches:
    """Images (N, 3, size, size) in [0, 1], augmented anew at each step.

    `dataset` has the images that can be read; `inputs` are those of train and of val.

    Raises:
        DatasetError: no training image of a label can be read.
    """

    def __init__(self, base: Base, dataset: Dataset, settings: TrainSettings, device: str) -> None:
        (train, own), (val, own_val) = (Inputs.of(p, base) for p in (dataset.train, dataset.val))
        before, after = (describe(part, dataset.task.labels) for part in (dataset.train, train))
        if gone := [label for label, count in before.items() if count and not after[label]]:
            raise DatasetError(
                f"{dataset.task.name}: expected training images of {', '.join(gone)} that can be "
                "read, got none; medlego data check names the files"
            )
        self.dataset = replace(dataset, train=train, val=val)
        self.base, self.device, self.inputs = base, device, (own, own_val)
        self._augment = augmentation_for(dataset.task) if settings.augment else None

    def train(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Draws of one call; every epoch's are new."""
        pixels = self.inputs[0].take(indices.tolist()).to(self.device)
        return pixels if self._augment is None else self._augment(pixels, generator)

    def val(self) -> Iterator[Tensor]:
        """Decoded as `Inputs` does."""
        return (pixels.to(self.device) for pixels in self.inputs[1].batches(EVALUATION_BATCH))

    def features(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Through the whole model."""
        with _mixed_precision(self.device):
            return features(model, self.base.normalise(batch)).float()

    def labelled_features(
        self, model: nn.Module, show: Progress
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Features, on the CPU, and labels of all images of train, then of val, as they are."""
        for inputs, part in zip(self.inputs, (self.dataset.train, self.dataset.val), strict=True):
            batches = inputs.batches(EVALUATION_BATCH, show, "features for the head")
            found = [self.features(model, batch.to(self.device)).cpu() for batch in batches]
            yield torch.cat(found), part.labels


class TokenBatches:
    """Tokens (N, tokens, width) after the stem, float16 on the CPU.

    Of each training image there are those of `settings.views` augmentations, in turns from epoch
    to epoch and each image from a view of its own on. Seed and images alone decide them, whatever
    the stem.

    Raises:
        TrainingError: an activation that float16 cannot hold.
    """

    def __init__(
        self, images: ImageBatches, module: nn.Module, settings: TrainSettings, show: Progress
    ) -> None:
        self._images, self._module, self._stem = images, module, settings.stem
        train, val = images.inputs
        count, views = len(train), settings.views if settings.augment else 1
        generator = torch.Generator().manual_seed(mix(settings.seed, "views"))
        self._first = torch.randint(views, (count,), generator=generator)
        shape = self._tokens(train.take([0]).to(images.device)).shape[1:]
        self._train = torch.empty(views, count, *shape, dtype=torch.float16)
        self._val = torch.empty(len(val), *shape, dtype=torch.float16)
        size = 2 * (self._train.numel() + self._val.numel()) / 1e9
        what = f"keeping tokens of {views} views, {size:.3g} GB"
        for view in range(views):
            for indices in torch.split(torch.arange(count), EVALUATION_BATCH):
                show(what, view * count + int(indices[0]), views * count)
                self._train[view, indices] = self._tokens(images.train(indices, view, generator))
        for batch, kept in zip(images.val(), torch.split(self._val, EVALUATION_BATCH), strict=True):
            kept.copy_(self._tokens(batch))

    def train(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The views whose turn it is; draws nothing."""
        view = (self._first[indices] + epoch) % len(self._train)
        return self._train[view, indices].to(self._images.device)

    def val(self) -> Iterator[Tensor]:
        """As kept."""
        return (kept.to(self._images.device) for kept in torch.split(self._val, EVALUATION_BATCH))

    def features(self, model: nn.Module, batch: Tensor) -> Tensor:
        """From the stem on."""
        with _mixed_precision(self._images.device):
            return pool(model, through(model, batch.float(), self._stem)).float()

    @torch.no_grad()
    def _tokens(self, pixels: Tensor) -> Tensor:
        with _mixed_precision(self._images.device):
            embedded = embed(self._module, self._images.base.normalise(pixels))
            kept = through(self._module, embedded, 0, self._stem).half().cpu()
        if not torch.isfinite(kept).all():
            raise TrainingError(
                f"tokens after {self._stem} blocks: expected finite float16 numbers, got infinity "
                "or NaN; set views to 0"
            )
        return kept


def mix(seed: int, what: int | str) -> int:
    """A generator's seed for one part of a run: an epoch's number or a name."""
    digest = hashlib.sha256(f"{seed}:{what}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


def _mixed_precision(device: str) -> AbstractContextManager[object]:
    return torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda"))
