"""DICOM files in, DICOM results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from medlego.errors import ImageError
from medlego.images import Image, read_image
from medlego.prediction import Prediction, explain, predict_images
from medlego.serve.pacs.results.algorithm import MODEL, NAME, Algorithm
from medlego.serve.pacs.results.capture import saliency_capture
from medlego.serve.pacs.results.report import structured_report
from medlego.serve.pacs.results.source import Source, read_source
from medlego.serve.reload import Model


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came of one file: results, or why there are none.

    `results` are the report and, for every answer, a capture. `problem` is a sentence without
    patient data.
    """

    source: Source | None = None
    prediction: Prediction | None = None
    results: tuple[Dataset, ...] = ()
    problem: str = ""


@dataclass(frozen=True, eq=False)
class _Read:
    source: Source
    image: Image
    when: datetime


def analyse(
    model: Model, files: Sequence[tuple[Path, datetime]], method: str | None = "gradient"
) -> list[Analysis]:
    """Answer DICOM images with results in DICOM.

    Args:
        model: what answers, each image by the tasks that it belongs to.
        files: paths of DICOM files, of several frames the middle one is answered; each with date
            and time of its results.
        method: of the saliency in captures, see `prediction.saliency`; None for no captures.

    Returns:
        One analysis per file, in order; a file that is no readable image has a problem instead of
        results, and so has one that medlego made itself.

    Raises:
        GeneralistError: an unknown method.
    """
    outcomes = [_read(path, when) for path, when in files]
    read = [one for one in outcomes if isinstance(one, _Read)]
    tasks = model.engine.tasks_to_ask()
    names = [one.source.sop_uid for one in read]
    predictions = predict_images(model.engine, [one.image for one in read], names, tasks)
    algorithm = Algorithm.of(model.generalist)
    captures = _captures(model, algorithm, read, predictions, method)
    analyses = iter(
        Analysis(
            one.source,
            prediction,
            (structured_report(one.source, prediction, algorithm, one.when), *own),
        )
        for one, prediction, own in zip(read, predictions, captures, strict=True)
    )
    return [next(analyses) if isinstance(one, _Read) else one for one in outcomes]


def _read(path: Path, when: datetime) -> _Read | Analysis:
    try:
        source = read_source(path)
        attributes = source.attributes
        maker = attributes.get("Manufacturer"), attributes.get("ManufacturerModelName")
        if maker == (NAME, MODEL):
            return Analysis(source, problem="a result of medlego, not an image to answer")
        frame = None if source.frame is None else source.frame - 1
        return _Read(source, read_image(path, frame), when)
    except ImageError as error:
        return Analysis(problem=str(error).removeprefix(f"{path}: "))


def _captures(
    model: Model,
    algorithm: Algorithm,
    read: Sequence[_Read],
    predictions: Sequence[Prediction],
    method: str | None,
) -> list[list[Dataset]]:
    """Per image a capture of each answer's likeliest label, in the order of the answers."""
    captures: list[list[Dataset]] = [[] for _ in read]
    if method is None:
        return captures
    for task in model.generalist.tasks:
        explained = [
            (row, answer.probs.index(max(answer.probs)), max(answer.probs))
            for row, prediction in enumerate(predictions)
            for answer in prediction.answers
            if answer.task.name == task.name
        ]
        if not explained:
            continue
        maps = explain(
            model.generalist,
            [read[row].image for row, *_ in explained],
            task.name,
            label=[task.labels[label] for _, label, _ in explained],
            method=method,
            base=model.base,
            device=model.device,
        )
        for (row, _, prob), saliency in zip(explained, maps, strict=True):
            one, mapped = read[row], replace(saliency, prob=prob)
            captures[row].append(
                saliency_capture(one.source, one.image, mapped, algorithm, one.when)
            )
    return captures
