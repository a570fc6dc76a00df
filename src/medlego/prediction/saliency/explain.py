"""Saliency of images for one task of a generalist, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from medlego.base import Base
from medlego.data import Task
from medlego.errors import GeneralistError
from medlego.generalist import Generalist
from medlego.images import Image, read_image
from medlego.prediction.saliency.gradient import integrated_gradients
from medlego.prediction.saliency.maps import Saliency
from medlego.prediction.saliency.rollout import attention_rollout
from medlego.prediction.saliency.scene import Scene, answering
from medlego.support import Progress, silent

BATCH = 16

Method = Callable[[Scene, Tensor, Tensor], Tensor]
"""(scene, tokens before the first block, label numbers) → (N, patches)."""

METHODS: dict[str, Method] = {
    "gradient": integrated_gradients,
    "rollout": attention_rollout,
}


def explain(
    generalist: Generalist,
    images: Sequence[str | Path | Image],
    task: str,
    *,
    label: str | Sequence[str] | None = None,
    method: str = "gradient",
    base: Base | None = None,
    mode: str | None = None,
    device: str = "cpu",
    show: Progress = silent,
) -> list[Saliency]:
    """Map what the answer to a task rests on in each image.

    A routed generalist is looked at as it answers: the task's own brick, whole. For a brick by
    itself pass `specialist(brick)`, for a task's specialist in a merge `generalist.alone(task)`.

    Args:
        generalist: holds the task.
        images: paths or images already read; paths are read batch by batch.
        task: the task's name, asked of every image.
        label: explain this label, or one label per image; the likeliest when left out.
        method: a name of `METHODS`. `rollout` gives one map for all labels.
        base: the generalist's base; found by fingerprint when left out.
        mode: how the generalist works, see `medlego.merge.Mode`; its recipe's when left out.
        device: `cpu` or `cuda`.
        show: called with what is under way.

    Returns:
        One map per image, in order.

    Raises:
        ImageError: a file that cannot be read.
        GeneralistError: no such task, label or method, or another base.
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
        BaseError: the base is not to be found.
    """
    check_method(method)
    labels = _labels(label, len(images), generalist.capability(task).task)
    base = generalist.find_base(base)
    scene = Scene.of(base, *answering(generalist, task, base, mode), device)
    maps: list[Saliency] = []
    for start in range(0, len(images), BATCH):
        show(f"saliency of {task}", start, len(images))
        batch = [
            image if isinstance(image, Image) else read_image(image)
            for image in images[start : start + BATCH]
        ]
        maps += _explain_batch(scene, batch, labels[start : start + BATCH], method)
    return maps


def check_method(method: str) -> None:
    """Refuse a name that is not one of `METHODS`.

    Raises:
        GeneralistError: such a name.
    """
    if method not in METHODS:
        raise GeneralistError(f"saliency: expected one of {', '.join(METHODS)}, got {method!r}")


def embedded(scene: Scene, images: Sequence[Image]) -> Tensor:
    """Images → tokens before the first block, (N, tokens, width), where the scene is."""
    base = scene.backbone.base
    with torch.no_grad():
        return scene.backbone.embed(torch.stack([base.prepare(image) for image in images]))


def _explain_batch(
    scene: Scene, images: Sequence[Image], labels: Sequence[int | None], method: str
) -> list[Saliency]:
    task = scene.reader.task
    tokens = embedded(scene, images)
    with torch.no_grad():
        probs = scene.probs(tokens)
    likeliest = probs.argmax(dim=1).tolist()
    numbers = [b if a is None else a for a, b in zip(labels, likeliest, strict=True)]
    maps = METHODS[method](scene, tokens, torch.tensor(numbers, device=tokens.device)).cpu()
    return [
        Saliency(
            task=task,
            label=task.labels[number],
            prob=float(row[number]),
            method=method,
            patches=patches.reshape(scene.grid),
            input_size=scene.backbone.base.ref.image_size,
            image_size=(image.pixels.shape[1], image.pixels.shape[2]),
            aspect=image.aspect,
        )
        for patches, number, row, image in zip(maps, numbers, probs, images, strict=True)
    ]


def _labels(label: str | Sequence[str] | None, count: int, task: Task) -> list[int | None]:
    """The number of each image's label, None for the likeliest."""
    if label is None:
        return [None] * count
    names = [label] * count if isinstance(label, str) else list(label)
    if len(names) != count:
        raise GeneralistError(f"label: expected one for each of {count} images, got {len(names)}")
    if unknown := [name for name in names if name not in task.labels]:
        raise GeneralistError(
            f"label: expected one of {', '.join(task.labels)}, got {unknown[0]!r}"
        )
    return [task.labels.index(name) for name in names]
