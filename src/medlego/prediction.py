"""Images in, per task the labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medlego.adapters import on_device
from medlego.base import Base, features
from medlego.brick import probabilities
from medlego.generalist import Generalist
from medlego.images import Image, read_image
from medlego.loading import Inputs
from medlego.progress import Progress, silent
from medlego.sites import Capability
from medlego.task import Kind, Task

BATCH = 64
MULTILABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Answer:
    """One task's answer to one image: a probability per label."""

    task: Task
    probs: tuple[float, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The likeliest label, or every label above one half where a task allows several."""
        if self.task.kind is Kind.MULTILABEL:
            pairs = zip(self.task.labels, self.probs, strict=True)
            return tuple(label for label, p in pairs if p > MULTILABEL_THRESHOLD)
        return (self.task.labels[int(np.argmax(self.probs))],)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "task": self.task.name,
            "kind": str(self.task.kind),
            "labels": list(self.labels),
            "probabilities": dict(zip(self.task.labels, self.probs, strict=True)),
        }


@dataclass(frozen=True)
class Prediction:
    """Every asked task's answer to one image."""

    image: str
    applied: tuple[str, ...]
    answers: tuple[Answer, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "image": self.image,
            "applied": list(self.applied),
            "answers": [answer.as_dict() for answer in self.answers],
        }


class Predictor:
    """A generalist folded into its base, ready for batches."""

    def __init__(self, generalist: Generalist, base: Base, *, device: str = "cpu") -> None:
        self._base = base
        self._device = device
        self._module = on_device(generalist.fold(base), device)
        self.readers: tuple[Capability, ...] = generalist.readers

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """(N, 3, size, size) in [0, 1] → (N, features), on the CPU."""
        inputs = self._base.normalise(pixels.to(self._device))
        return features(self._module, inputs).float().cpu()

    def all_features(self, inputs: Inputs, show: Progress = silent, what: str = "") -> Tensor:
        """Features of a whole split, (N, features)."""
        parts: list[Tensor] = []
        for batch in inputs.batches(BATCH):
            show(what, len(parts) * BATCH, len(inputs))
            parts.append(self.features(batch))
        return torch.cat(parts)

    def probs(self, pixels: Tensor) -> dict[str, Tensor]:
        """Per task (N, labels)."""
        return head_probs(self.readers, self.features(pixels))


def head_probs(readers: Sequence[Capability], pooled: Tensor) -> dict[str, Tensor]:
    """Each task's head read on pooled features: (N, features) → per task (N, labels)."""
    return {r.task.name: probabilities(r.task, r.head.logits(pooled)) for r in readers}


def read_probs(reader: Capability, pooled: Tensor) -> np.ndarray:
    """One task's head read on pooled features: (N, features) → (N, labels), float64."""
    found: np.ndarray = head_probs([reader], pooled)[reader.task.name].double().numpy()
    return found


def predict(
    generalist: Generalist,
    images: Sequence[str | Path | Image],
    *,
    base: Base | None = None,
    task: str | None = None,
    device: str = "cpu",
) -> list[Prediction]:
    """Answer every task (or one) for each image.

    Args:
        generalist: the merged model.
        images: paths or images already read.
        base: the generalist's base; found by fingerprint when left out.
        task: ask this task only.
        device: `cpu` or `cuda`.

    Returns:
        One prediction per image, in order.

    Raises:
        ImageError: a file that cannot be read; none is answered then.
        GeneralistError: no such task, or another base.
        BaseError: the base is not to be found.
    """
    wanted = generalist.readers
    if task is not None:
        asked = generalist.capability(task).task
        wanted = tuple(reader for reader in wanted if reader.task == asked)
    read = [image if isinstance(image, Image) else read_image(image) for image in images]
    base = base or Base.find(generalist.base)
    predictor = Predictor(generalist, base, device=device)
    names = [f"image {i + 1}" if isinstance(im, Image) else str(im) for i, im in enumerate(images)]
    predictions: list[Prediction] = []
    inputs = Inputs(read, base)
    for start, batch in zip(range(0, len(read), BATCH), inputs.batches(BATCH), strict=True):
        probs = head_probs(wanted, predictor.features(batch))
        for offset in range(len(batch)):
            predictions.append(
                Prediction(
                    names[start + offset],
                    read[start + offset].applied,
                    _answers(wanted, probs, offset),
                )
            )
    return predictions


def _answers(
    readers: Sequence[Capability], probs: Mapping[str, Tensor], index: int
) -> tuple[Answer, ...]:
    return tuple(
        Answer(reader.task, tuple(float(p) for p in probs[reader.task.name][index]))
        for reader in readers
    )
