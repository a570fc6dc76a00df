"""A job from its images to its table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from medlego.base import BATCH
from medlego.errors import DatasetError, SettingsError, raise_all
from medlego.generalist import Generalist
from medlego.merge import as_mode
from medlego.prediction.batch.answering import Work
from medlego.prediction.batch.job import (
    LISTING,
    SUFFIX,
    Job,
    begin,
    clear,
    done_parts,
    finish,
    job_of,
    keep_part,
    locked,
    scan,
)
from medlego.prediction.batch.listing import JobPart, Listing, PartRows, write_listing
from medlego.prediction.batch.local import local_devices, run_local
from medlego.prediction.batch.rows import ABSTAINED, UNREADABLE
from medlego.prediction.batch.sources import find_images, list_images
from medlego.support import Progress, silent, table_suffix

PART_IMAGES = 512
"""Images to a part: what a kill may cost, on each device."""

Run = Callable[[Work, Iterator[JobPart]], Iterator[PartRows]]
"""Answers parts somewhere."""


@dataclass(frozen=True)
class Summary:
    """What a job came to.

    `before` images were answered by an earlier run; `seconds` are this run's, with loading and
    joining.
    """

    output: str
    images: int
    rows: int
    abstained: int
    unreadable: int
    before: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def predict_many(
    directory: str | Path,
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    base_weights: str | Path | None = None,
    task: str | None = None,
    every_task: bool = False,
    any_object: bool = False,
    mode: str | None = None,
    limit: int | None = None,
    batch_size: int = BATCH,
    workers: int | None = None,
    part_images: int = PART_IMAGES,
    device: str = "cpu",
    engine: str = "local",
    show: Progress = silent,
) -> Summary:
    """Answer any number of images as `predict` would, into a table.

    Memory does not grow with their number. A job that was ended, however it was, goes on where
    it stood when it is called again; one that is finished is left as it is. An image that cannot
    be read gets a row that says why.

    Args:
        directory: a generalist's.
        source: a folder of images or a table of paths, see `batch.sources`; or several of them and
            of image files.
        output: a `.parquet` or `.csv` file to write; `batch.rows` has its columns. Beside it
            `OUTPUT.job` lies meanwhile.
        base_weights: the base's file; found by fingerprint when left out.
        task, every_task, any_object, mode: as of `predict`.
        limit: answer only the first so many images.
        batch_size: images that pass through the model together.
        workers: decoding threads for each device or actor; cores by default, at most 16.
        part_images: images whose rows are kept together.
        device: `cpu`, or `cuda`: every GPU of this machine, or of the cluster; `auto`, with Ray:
            the cluster's GPUs, if it has any.
        engine: `local`, or `ray`: a Ray cluster, on which directory and images lie at the same
            paths.
        show: called with the rate in images a second, images done and images in all.

    Raises:
        JobError: the folder holds a job that was begun otherwise, or another process is at it;
            or the output is another job's.
        DatasetError: no images, or a table that cannot be read.
        SettingsError: a number below one, another ending of the output, an unknown engine, or Ray
            is not installed.
        GeneralistError, MergeError, BaseError: as of `predict`.
    """
    started = time.monotonic()
    output = Path(output)
    _check(batch_size=batch_size, workers=workers, part_images=part_images, limit=limit)
    table_suffix(output)
    folder = output.with_name(f"{output.name}{SUFFIX}")
    if isinstance(source, (str, Path)):
        root, images = find_images(source, folder)
    else:
        root, images = Path(), list_images(source, folder)
    generalist = Generalist.load(directory)
    if task is not None:
        generalist.capability(task)
    work = Work(
        directory=Path(directory).absolute(),
        generalist=generalist.recipe.digest,
        base_weights=None if base_weights is None else Path(base_weights).absolute(),
        mode=generalist.recipe.mode if mode is None else as_mode(mode),
        task=task,
        every_task=every_task,
        any_object=any_object,
        root=root.absolute(),
        batch_size=batch_size,
        workers=workers,
    )
    run = _engine(engine, device)
    with locked(folder):
        finished = job_of(output) if output.exists() else None
        listing = write_listing(islice(images, limit), folder / LISTING, part_images, show)
        if not listing.images:
            raise DatasetError(f"{source}: expected images, found none")
        job, before = Job.of(work, listing), listing.images
        if finished is not None:
            job.check_same(finished, output, "choose another output")
            clear(folder, output)
        else:
            begin(folder, job)
            before = _answer(work, listing, folder, run, show)
            finish(folder, job, listing, output)
    return _summary(output, listing, before, time.monotonic() - started)


def _check(**numbers: int | None) -> None:
    problems = [
        f"{name}: expected at least 1, got {number}"
        for name, number in numbers.items()
        if number is not None and number < 1
    ]
    raise_all(SettingsError, "settings", problems)


def _engine(name: str, device: str) -> Run:
    if name == "local":
        return partial(run_local, devices=local_devices(device))
    if name == "ray":
        from medlego.prediction.batch.ray_engine import need_ray, run_on_ray

        need_ray()
        return partial(run_on_ray, device=device)
    raise SettingsError(f"engine: expected local or ray, got {name!r}")


def _answer(work: Work, listing: Listing, folder: Path, run: Run, show: Progress) -> int:
    """Do what is left to do; returns how many images were done before."""
    done = done_parts(folder, listing)
    before = count = sum(map(listing.span, done))
    left = [number for number in range(len(listing.offsets)) if number not in done]
    if not left:
        return before
    began = time.monotonic()
    for number, content in run(work, map(listing.part, left)):
        keep_part(folder, number, content)
        count += listing.span(number)
        rate = (count - before) / (time.monotonic() - began)
        show(f"{rate:,.1f} images/s", count, listing.images)
    return before


def _summary(output: Path, listing: Listing, before: int, seconds: float) -> Summary:
    outcomes = scan(output).group_by("outcome").len().collect()
    counts = dict(outcomes.iter_rows())
    return Summary(
        output=str(output),
        images=listing.images,
        rows=sum(counts.values()),
        abstained=counts.get(ABSTAINED, 0),
        unreadable=counts.get(UNREADABLE, 0),
        before=before,
        seconds=seconds,
    )
