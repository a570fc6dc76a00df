"""Images in, per task the labels with probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from medlego.base import BATCH, BaseLike, Inputs
from medlego.errors import ImageError
from medlego.generalist import GeneralistLike, open_generalist
from medlego.images import Image
from medlego.prediction.answers import Prediction, TaskAnswers
from medlego.prediction.asked import Asked, asked_images, read_one
from medlego.prediction.engine import Engine
from medlego.prediction.predictions import Predictions
from medlego.support import NoPickle, Progress, silent


class Predictor(NoPickle, instead="make it from its generalist there"):
    """A generalist that stays ready between calls; not to be used from two threads at once.

    `generalist` and `base` are what it is made of.
    """

    def __init__(
        self,
        generalist: GeneralistLike,
        base: BaseLike | None = None,
        *,
        mode: str | None = None,
        device: str = "cpu",
    ) -> None:
        """As `predict`."""
        self.generalist = open_generalist(generalist)
        self.base = self.generalist.find_base(base)
        self._engine = Engine(self.generalist, self.base, mode=mode, device=device)
        self._bricks = self._engine.digests()

    def __call__(
        self,
        images: Asked,
        *,
        task: str | None = None,
        every_task: bool = False,
        any_object: bool = False,
    ) -> Predictions:
        """Answer images, see `predict`."""
        tasks = self._engine.tasks_to_ask(task, every_task=every_task)
        listed, answers = asked_images(images), Predictions(bricks=self._bricks)
        for start in range(0, len(listed), BATCH):
            outcomes = [
                (name, read_one(image, name, any_object=any_object))
                for name, image in listed[start : start + BATCH]
            ]
            read = [(name, one) for name, one in outcomes if isinstance(one, Image)]
            names, pixels = [name for name, _ in read], [one for _, one in read]
            answered = iter(predict_images(self._engine, pixels, names, tasks))
            for name, one in outcomes:
                if isinstance(one, Image):
                    answers.append(next(answered))
                else:
                    answers.append(Prediction(name, (), (), problem=str(one)))
        if answers and all(one.problem for one in answers):
            raise ImageError(answers[0].problem)
        return answers


def predict(
    generalist: GeneralistLike,
    images: Asked,
    *,
    base: BaseLike | None = None,
    task: str | None = None,
    every_task: bool = False,
    mode: str | None = None,
    device: str = "cpu",
    any_object: bool = False,
) -> Predictions:
    """Answer each image by the tasks that it belongs to.

    A file that cannot be read, or is no image of a patient, gets a `Prediction.problem` instead
    of answers; the others are answered. `Generalist.predictor` stays ready for many calls.

    Args:
        generalist: what answers, or its directory. Its bricks' profiles tell what an image belongs
            to; where none has a profile, every task answers.
        images: one or several: files, folders with all that is below, tables with a column
            `path`, Pillow pictures, arrays or tensors as `medlego.images.as_image` takes them
            (several stacked are as many), images already read, or a split such as `dataset.test`.
        base: the generalist's base, or its name; found by fingerprint when left out.
        task: ask this task of every image, wherever it belongs.
        every_task: ask every task of every image.
        mode: how the generalist works, see `medlego.merge.Mode`; its recipe's when left out.
        device: `cpu` or `cuda`.
        any_object: answer DICOM objects that are no images of patients too.

    Returns:
        One prediction per image, in order. One without answers abstains; its route says why.

    Raises:
        ImageError: no image can be read.
        DatasetError: a folder or table without images.
        GeneralistError: no such task or directory, or another base.
        MergeError: an unknown mode, or bricks of a group that cannot be merged.
        BaseError: the base is not to be found.
    """
    predictor = Predictor(generalist, base, mode=mode, device=device)
    return predictor(images, task=task, every_task=every_task, any_object=any_object)


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
