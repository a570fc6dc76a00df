"""DICOM files in, DICOM results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from medlego.base import Base
from medlego.errors import ImageError
from medlego.generalist import Generalist
from medlego.images import Image, read_image
from medlego.prediction import Prediction, Running, answer_images, explain, tasks_to_ask
from medlego.serve.pacs.results.algorithm import MODEL, NAME, Algorithm
from medlego.serve.pacs.results.capture import saliency_capture
from medlego.serve.pacs.results.report import structured_report
from medlego.serve.pacs.results.source import Source, read_source


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came of one file: results, or why there are none.

    `results` are the report and, for every answer, a capture. `problem` is a sentence without
    anything of the patient's.
    """

    path: Path
    source: Source | None = None
    prediction: Prediction | None = None
    results: tuple[Dataset, ...] = ()
    problem: str = ""


@dataclass(frozen=True, eq=False)
class _Read:
    path: Path
    source: Source
    image: Image
    when: datetime


def analyse(
    generalist: Generalist,
    paths: Sequence[str | Path],
    when: Sequence[datetime],
    *,
    base: Base | None = None,
    method: str | None = "gradient",
    device: str = "cpu",
    running: Running | None = None,
) -> list[Analysis]:
    """Answer DICOM images, and say the answers in DICOM.

    Args:
        generalist: what answers, each image by the tasks that it belongs to.
        paths: DICOM files; of several frames the middle one is answered.
        when: date and time of each file's results.
        base: the generalist's base; found by fingerprint when left out.
        method: of the saliency in captures, see `prediction.saliency`; None for no captures.
        device: `cpu` or `cuda`.
        running: the generalist on its base and device, made ready once for many calls; `base` is
            then that one's.

    Returns:
        One analysis per file, in order; a file that is no readable image has a problem instead of
        results, and so has one that medlego made itself.

    Raises:
        GeneralistError: another base, or an unknown method.
        BaseError: the base is not to be found.
    """
    if running is None:
        running = Running(generalist, base or Base.find(generalist.base), device=device)
    tried = [_read(Path(path), at) for path, at in zip(paths, when, strict=True)]
    read = [found for found in tried if isinstance(found, _Read)]
    asked = tasks_to_ask(running, None, every_task=False)
    names = [found.source.sop_uid for found in read]
    predictions = answer_images(running, [found.image for found in read], names, asked)
    captures = _captures(generalist, read, predictions, running.base, method, device)
    algorithm = Algorithm.of(generalist)
    done = iter(
        Analysis(
            found.path,
            found.source,
            prediction,
            (structured_report(found.source, prediction, algorithm, found.when), *shown),
        )
        for found, prediction, shown in zip(read, predictions, captures, strict=True)
    )
    return [next(done) if isinstance(found, _Read) else found for found in tried]


def _read(path: Path, when: datetime) -> _Read | Analysis:
    try:
        source = read_source(path)
        made_by = source.stated.get("Manufacturer"), source.stated.get("ManufacturerModelName")
        if made_by == (NAME, MODEL):
            return Analysis(
                path, source, problem="a result of medlego's own, not an image to answer"
            )
        frame = None if source.frame is None else source.frame - 1
        return _Read(path, source, read_image(path, frame), when)
    except ImageError as error:
        return Analysis(path, problem=str(error).removeprefix(f"{path}: "))


def _captures(
    generalist: Generalist,
    read: Sequence[_Read],
    predictions: Sequence[Prediction],
    base: Base,
    method: str | None,
    device: str,
) -> list[list[Dataset]]:
    """Per image a capture of each answer's likeliest label, in the order of the answers."""
    found: list[list[Dataset]] = [[] for _ in read]
    if method is None:
        return found
    algorithm = Algorithm.of(generalist)
    for task in generalist.tasks:
        asked = [
            (row, answer.task.labels[answer.probs.index(max(answer.probs))], max(answer.probs))
            for row, prediction in enumerate(predictions)
            for answer in prediction.answers
            if answer.task.name == task.name
        ]
        if not asked:
            continue
        maps = explain(
            generalist,
            [read[row].image for row, _, _ in asked],
            task.name,
            label=[label for _, label, _ in asked],
            method=method,
            base=base,
            device=device,
        )
        for (row, _, prob), saliency in zip(asked, maps, strict=True):
            own = read[row]
            shown = replace(saliency, prob=prob)
            found[row].append(saliency_capture(own.source, own.image, shown, algorithm, own.when))
    return found
