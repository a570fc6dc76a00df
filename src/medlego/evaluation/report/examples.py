"""Images that a generalist was surest about and wrong, beside what its answers rest on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from medlego.base import Base
from medlego.data import Kind
from medlego.evaluation.result import MODELS, Report, TaskDetail
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


def worst_errors(detail: TaskDetail, count: int) -> tuple[Error, ...]:
    """The generalist's wrong answers, surest first, at most one an image.

    Images that it sends elsewhere or does not answer are not among them: it gave no answer.
    """
    answers = detail.answers[MODELS[0]]
    sample = detail.sample()
    whole = np.arange(len(detail.samples))
    places = whole if answers.answered is None else whole[answers.answered]
    found = []
    if detail.task.kind is Kind.MULTILABEL:
        labels, given = sample.labels, sample.answers
        wrong = ~np.isnan(labels) & (given != (np.nan_to_num(labels) > 0))
        sure = np.where(wrong, np.where(given, sample.probs, 1 - sample.probs), -1.0)
        for row in np.flatnonzero(wrong.any(axis=1)):
            column = int(sure[row].argmax())
            label = detail.task.labels[column]
            said, true = ("present", "absent") if given[row, column] else ("absent", "present")
            found.append(Error(int(places[row]), label, said, true, float(sure[row, column])))
    else:
        names = detail.task.labels
        for row in np.flatnonzero(sample.answers != sample.labels):
            said = names[sample.answers[row]]
            prob = float(sample.probs[row, sample.answers[row]])
            found.append(Error(int(places[row]), said, said, names[sample.labels[row]], prob))
    return tuple(sorted(found, key=lambda error: -error.prob)[:count])


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
    """Per task the worst errors as pictures.

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
    base = base or Base.find(generalist.base)
    found = {}
    for name, detail in report.tasks.items():
        errors = worst_errors(detail, count)
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
        found[name] = tuple(
            Example(
                _png(_grey_or_colour(image)), _png(overlay(image, seen)), _caption(error), method
            )
            for error, image, seen in zip(errors, images, maps, strict=True)
        )
    return found


def _caption(error: Error) -> str:
    what = "" if error.answer == error.label else f"{error.label}: "
    return (
        f"image {error.index + 1}: {what}answered {error.answer} ({error.prob:.2f}), "
        f"is {error.truth}"
    )


def _grey_or_colour(image: Image) -> np.ndarray:
    """(h, w, 3) uint8."""
    pixels = image.pixels.expand(3, *image.pixels.shape[1:])
    shown: np.ndarray = (pixels * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return shown


def _png(pixels: np.ndarray) -> bytes:
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
