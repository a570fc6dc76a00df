"""Images in, per task the labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medlego.base import Base, Inputs, features
from medlego.bricks import on_device
from medlego.data import Task
from medlego.generalist import Generalist
from medlego.images import Image, read_image
from medlego.merge import Capability, as_mode
from medlego.metrics import State
from medlego.prediction.engine import Batch, Running
from medlego.prediction.routing import Route
from medlego.support import NoPickle, Progress, ShortRepr, silent

BATCH = 64


@dataclass(frozen=True, repr=False)
class Answer(ShortRepr):
    """One task's answer to one image: a probability per label.

    `state` says whether probabilities are calibrated. `thresholds` are those of the second label of
    a binary task, or of each label of a multilabel one; empty where one half is.
    """

    task: Task
    probs: tuple[float, ...]
    state: State = "none"
    thresholds: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The likeliest label, or those above their thresholds where the kind has any."""
        limits = np.array(self.thresholds) if self.thresholds else None
        rules = self.task.rules
        (answer,) = rules.decide(np.array([self.probs]), limits)
        return tuple(self.task.labels[place] for place in rules.places(answer))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "task": self.task.name,
            "kind": str(self.task.kind),
            "labels": list(self.labels),
            "probabilities": dict(zip(self.task.labels, self.probs, strict=True)),
            "calibration": self.state,
            "thresholds": dict(
                zip(self.task.labels[-len(self.thresholds) :], self.thresholds, strict=True)
            )
            if self.thresholds
            else None,
        }


@dataclass(frozen=True, repr=False)
class Prediction(ShortRepr):
    """Every asked task's answer to one image, and where its route leads, if there is one."""

    image: str = field(repr=False)
    applied: tuple[str, ...]
    answers: tuple[Answer, ...]
    route: Route | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "image": self.image,
            "applied": list(self.applied),
            "answers": [answer.as_dict() for answer in self.answers],
            "route": None if self.route is None else self.route.as_dict(),
        }


class Predictor(NoPickle, instead="make it from its generalist and base there"):
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
    return {r.task.name: r.probabilities(r.head.logits(pooled)) for r in readers}


def read_probs(reader: Capability, pooled: Tensor) -> np.ndarray:
    """One task's head read on pooled features: (N, features) → (N, labels), float64."""
    found: np.ndarray = head_probs([reader], pooled)[reader.task.name].double().numpy()
    return found


@dataclass(frozen=True, eq=False)
class TaskAnswers:
    """One task's answers to images that are known to be its own.

    `told` (N, labels), float64, are the task's answers to every image. `reached` (N,) says which
    images are sent to it by their looks alone; None where nothing can send them. `thresholds` are
    those of the task's reader, if it has any.
    """

    told: np.ndarray
    reached: np.ndarray | None
    routing: Mapping[str, int]
    thresholds: np.ndarray | None = None

    def found(self, task: Task, labels: np.ndarray) -> np.ndarray:
        """What `predict` answers, (N, labels): wrong where it sends an image elsewhere."""
        if self.reached is None:
            return self.told
        wrong = task.rules.wrong_answers(labels, self.thresholds)
        found: np.ndarray = np.where(self.reached[:, None], self.told, wrong)
        return found


def answer_task(
    running: Running, name: str, inputs: Inputs, show: Progress = silent
) -> TaskAnswers:
    """Ask a task of its own images, and see whether they would have been sent to it.

    Raises:
        GeneralistError: no such task.
    """
    told: list[Tensor] = []
    routes: list[Route] = []
    for number, pixels in enumerate(inputs.batches(BATCH)):
        show(name, number * BATCH, len(inputs))
        batch = running.run(pixels, (name,), look=True)
        told.append(batch.answers[0].probs)
        routes += batch.routes
    probs, limits = torch.cat(told).double().numpy(), running.readers[name].thresholds
    if not routes or name not in running.router.tasks:
        return TaskAnswers(probs, None, {}, limits)
    reached = np.array([name in route.tasks for route in routes])
    silent_ones = sum(not route.tasks for route in routes)
    counts = {
        "its own": int(reached.sum()),
        "atypical": sum(name in route.atypical for route in routes),
        "another task": len(routes) - int(reached.sum()) - silent_ones,
        "no answer": silent_ones,
    }
    return TaskAnswers(probs, reached, counts, limits)


def predict(
    generalist: Generalist,
    images: Sequence[str | Path | Image],
    *,
    base: Base | None = None,
    task: str | None = None,
    every_task: bool = False,
    mode: str | None = None,
    device: str = "cpu",
) -> list[Prediction]:
    """Answer each image by the tasks that it belongs to.

    Args:
        generalist: its bricks' profiles tell what an image belongs to; where none has a profile,
            every task answers.
        images: paths or images already read.
        base: the generalist's base; found by fingerprint when left out.
        task: ask this task of every image, wherever it belongs.
        every_task: ask every task of every image.
        mode: how the generalist works, see `medlego.merge.Mode`; its recipe's when left out.
        device: `cpu` or `cuda`.

    Returns:
        One prediction per image, in order. One without answers abstains; its route says why.

    Raises:
        ImageError: a file that cannot be read; none is answered then.
        GeneralistError: no such task, or another base.
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
        BaseError: the base is not to be found.
    """
    if task is not None:
        generalist.capability(task)
    chosen = None if mode is None else as_mode(mode)
    read = [image if isinstance(image, Image) else read_image(image) for image in images]
    running = Running(generalist, base or Base.find(generalist.base), mode=chosen, device=device)
    names = [f"image {i + 1}" if isinstance(im, Image) else str(im) for i, im in enumerate(images)]
    return answer_images(running, read, names, tasks_to_ask(running, task, every_task=every_task))


def answer_images(
    running: Running, images: Sequence[Image], names: Sequence[str], asked: Sequence[str] | None
) -> list[Prediction]:
    """Answer images under their names, batch by batch, asked as `tasks_to_ask` says."""
    predictions: list[Prediction] = []
    inputs = Inputs(images, running.base)
    for start, pixels in zip(range(0, len(images), BATCH), inputs.batches(BATCH), strict=True):
        for image, found in enumerate(answer_batch(running, pixels, asked), start):
            applied = images[image].applied
            predictions.append(Prediction(names[image], applied, found.answers, found.route))
    return predictions


@dataclass(frozen=True, repr=False)
class Found(ShortRepr):
    """What came of one image of a batch; as in `Prediction`."""

    answers: tuple[Answer, ...]
    route: Route | None


def tasks_to_ask(running: Running, task: str | None, *, every_task: bool) -> tuple[str, ...] | None:
    """The tasks that every image is asked; None where each image is routed to its own.

    Raises:
        GeneralistError: no such task.
    """
    if task is not None:
        return (running.reader(task).task.name,)
    if every_task or not running.router.tasks:
        return tuple(running.readers)
    return None


def answer_batch(running: Running, pixels: Tensor, asked: Sequence[str] | None) -> list[Found]:
    """Answer a batch (N, 3, size, size) in [0, 1] of images, asked as `tasks_to_ask` says."""
    batch = running.run(pixels, asked, look=True)
    routes = batch.routes or (None,) * len(pixels)
    answers = _by_image(batch, len(pixels))
    return [Found(*pair) for pair in zip(answers, routes, strict=True)]


def _by_image(batch: Batch, count: int) -> list[tuple[Answer, ...]]:
    """Answers per image, the likeliest task first, else in the order in which they were asked."""
    found: list[list[Answer]] = [[] for _ in range(count)]
    for answered in batch.answers:
        reader = answered.reader
        limits = () if reader.thresholds is None else tuple(reader.thresholds.tolist())
        for row, probs in zip(answered.rows.tolist(), answered.probs.tolist(), strict=True):
            found[row].append(Answer(reader.task, tuple(probs), reader.state, limits))
    for answers, route in zip(found, batch.routes, strict=False):
        answers.sort(key=lambda answer: -route.probs.get(answer.task.name, 0.0))
    return [tuple(answers) for answers in found]
