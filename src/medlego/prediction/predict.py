"""Images in, per task the labels with probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medlego.base import Base, Inputs
from medlego.errors import ImageError
from medlego.generalist import Generalist
from medlego.images import Image, read_image
from medlego.prediction.answers import Prediction, TaskAnswers
from medlego.prediction.engine import Engine
from medlego.support import Progress, silent


def predict(
    generalist: Generalist,
    images: Sequence[str | Path | Image],
    *,
    base: Base | None = None,
    task: str | None = None,
    every_task: bool = False,
    mode: str | None = None,
    device: str = "cpu",
    any_object: bool = False,
) -> list[Prediction]:
    """Answer each image by the tasks that it belongs to.

    A file that cannot be read, or is no image of a patient, gets a `Prediction.problem` instead
    of answers; the others are answered.

    Args:
        generalist: its bricks' profiles tell what an image belongs to; where none has a profile,
            every task answers.
        images: paths or images already read.
        base: the generalist's base; found by fingerprint when left out.
        task: ask this task of every image, wherever it belongs.
        every_task: ask every task of every image.
        mode: how the generalist works, see `medlego.merge.Mode`; its recipe's when left out.
        device: `cpu` or `cuda`.
        any_object: answer DICOM objects that are no images of patients too.

    Returns:
        One prediction per image, in order. One without answers abstains; its route says why.

    Raises:
        ImageError: no file can be read.
        GeneralistError: no such task, or another base.
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
        BaseError: the base is not to be found.
    """
    if task is not None:
        generalist.capability(task)
    outcomes = [_read(image, any_object) for image in images]
    read = [outcome for outcome in outcomes if isinstance(outcome, Image)]
    if not read and outcomes and isinstance(outcomes[0], ImageError):
        raise outcomes[0]
    engine = Engine(generalist, base or Base.find(generalist.base), mode=mode, device=device)
    names = [f"image {i + 1}" if isinstance(im, Image) else str(im) for i, im in enumerate(images)]
    tasks = engine.tasks_to_ask(task, every_task=every_task)
    answered = iter(predict_images(engine, read, [""] * len(read), tasks))
    return [
        replace(next(answered), image=name)
        if isinstance(outcome, Image)
        else Prediction(name, (), (), problem=str(outcome))
        for name, outcome in zip(names, outcomes, strict=True)
    ]


def _read(image: str | Path | Image, any_object: bool) -> Image | ImageError:
    if isinstance(image, Image):
        return image
    try:
        return read_image(image, any_object=any_object)
    except ImageError as error:
        return error


def predict_images(
    engine: Engine,
    images: Sequence[Image],
    names: Sequence[str],
    tasks: Sequence[str] | None = None,
) -> list[Prediction]:
    """Answer images under their names, batch by batch; tasks as `Engine.tasks_to_ask` says."""
    batches = Inputs(images, engine.base).batches()
    predictions = (one for pixels in batches for one in engine.predict(pixels, tasks))
    return [
        replace(prediction, image=name, applied=image.applied)
        for prediction, image, name in zip(predictions, images, names, strict=True)
    ]


def answer_task(engine: Engine, name: str, inputs: Inputs, show: Progress = silent) -> TaskAnswers:
    """Ask a task of its own images, and see whether they would have been sent to it.

    Raises:
        GeneralistError: no such task.
    """
    reader = engine.reader(name)
    batches = [engine.run(pixels, (name,)) for pixels in inputs.batches(show=show, what=name)]
    answers = TaskAnswers.of(reader, torch.cat([batch.answers[0].probs for batch in batches]))
    if name not in engine.router.tasks:
        return answers
    routes = [route for batch in batches for route in batch.routes]
    own = np.array([name in route.tasks for route in routes])
    abstained = sum(not route.tasks for route in routes)
    routing = {
        "its own": int(own.sum()),
        "atypical": sum(name in route.atypical for route in routes),
        "another task": len(routes) - int(own.sum()) - abstained,
        "no answer": abstained,
    }
    return replace(answers, answered=own, routing=routing)
