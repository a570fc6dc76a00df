"""A generalist's most confident errors, with saliency maps."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from medlego.base import Base
from medlego.evaluation.result import GENERALIST, Report, TaskDetail
from medlego.generalist import Generalist
from medlego.images import Image
from medlego.prediction import explain, overlay
from medlego.support import Progress, silent

LONGEST_SIDE = 512
"""Pixels; larger pictures are shrunk for the page."""


@dataclass(frozen=True)
class Error:
    """One wrong answer: the image's place in the split, what was answered and what is true.

    `prob` is what the model gave the answer that it should not have given. Of a multilabel task
    `answer` is a label that it answered or left out, and `truth` says which.
    """

    index: int
    label: str
    answer: str
    truth: str
    prob: float


@dataclass(frozen=True, eq=False)
class Example:
    """One error as pictures, PNG bytes of one size, and the line below them."""

    image: bytes
    overlay: bytes
    caption: str
    method: str


def confident_errors(detail: TaskDetail, count: int) -> tuple[Error, ...]:
    """The generalist's wrong answers, the highest probability first, at most one an image.

    Images that it sends elsewhere or does not answer are not among them: it gave no answer.
    """
    answered = detail.answers[GENERALIST].answered
    places = np.arange(len(detail.samples))
    places = places if answered is None else places[answered]
    sample, names = detail.sample(), detail.task.labels
    labels, answers, probs = sample.labels, sample.answers, sample.probs
    errors = []
    if not detail.task.rules.exclusive:
        wrong = ~np.isnan(labels) & (answers != (labels > 0))
        confidence = np.where(wrong, np.where(answers, probs, 1 - probs), -1.0)
        words = ("absent", "present")
        for row in np.flatnonzero(wrong.any(axis=1)):
            column = int(confidence[row].argmax())
            is_present = bool(answers[row, column])
            answer, truth = words[is_present], words[not is_present]
            prob = float(confidence[row, column])
            errors.append(Error(int(places[row]), names[column], answer, truth, prob))
    else:
        for row in np.flatnonzero(answers != labels):
            answer, truth = names[answers[row]], names[labels[row]]
            prob = float(probs[row, answers[row]])
            errors.append(Error(int(places[row]), answer, answer, truth, prob))
    return tuple(sorted(errors, key=lambda error: -error.prob)[:count])


def find_examples(
    report: Report,
    generalist: Generalist,
    *,
    base: Base | None = None,
    count: int = 6,
    method: str = "gradient",
    device: str = "cpu",
    show: Progress = silent,
) -> Mapping[str, tuple[Example, ...]]:
    """Per task the most confident errors as pictures.

    Args:
        report: what `evaluate` returned for this generalist.
        generalist: what was evaluated.
        base: the generalist's base; found by fingerprint when left out.
        count: at most so many per task.
        method: see `medlego.prediction.saliency.explain.METHODS`.
        device: `cpu` or `cuda`.
        show: called with what is under way.

    Raises:
        ImageError: an image that can no longer be read.
        GeneralistError: an unknown method.
        BaseError: the base is not to be found.
    """
    base = generalist.find_base(base)
    examples = {}
    for name, detail in report.tasks.items():
        errors = confident_errors(detail, count)
        images = [detail.samples.images[error.index] for error in errors]
        maps = explain(
            generalist,
            images,
            name,
            label=[error.label for error in errors],
            method=method,
            base=base,
            device=device,
            show=show,
        )
        examples[name] = tuple(
            Example(
                _png(_grey_or_colour(image)),
                _png(overlay(image, saliency)),
                _caption(error),
                method,
            )
            for error, image, saliency in zip(errors, images, maps, strict=True)
        )
    return examples


def _caption(error: Error) -> str:
    what = "" if error.answer == error.label else f"{error.label}: "
    return (
        f"image {error.index + 1}: {what}answered {error.answer} ({error.prob:.2f}), "
        f"is {error.truth}"
    )


def _grey_or_colour(image: Image) -> np.ndarray:
    """(h, w, 3) uint8."""
    pixels = image.pixels.expand(3, *image.pixels.shape[1:])
    scaled: np.ndarray = (pixels * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return scaled


def _png(pixels: np.ndarray) -> bytes:
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
