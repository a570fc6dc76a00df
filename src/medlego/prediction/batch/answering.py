"""Parts of a job answered on one device, images being decoded ahead of the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from medlego.base import Base
from medlego.errors import ImageError, JobError
from medlego.generalist import Generalist
from medlego.images import read_image
from medlego.merge import Mode
from medlego.prediction.batch.listing import JobPart, PartRows
from medlego.prediction.batch.rows import Row, rows_of, table_bytes, unreadable_row
from medlego.prediction.engine import Engine

AHEAD = 2
"""Batches that are decoded, or being decoded, while the model is at one."""
MOST_WORKERS = 16
"""Threads that decode unless somebody asks for more; they share one interpreter."""


@dataclass(frozen=True)
class Work:
    """What a worker must know to answer parts, wherever it runs.

    `directory` is the generalist's and `generalist` its recipe's digest; `root` is where names of
    images start; `workers` are decoding threads, None one for each core.
    """

    directory: Path
    generalist: str
    base_weights: Path | None
    mode: Mode
    task: str | None
    every_task: bool
    root: Path
    batch_size: int
    workers: int | None
    any_object: bool = False


@dataclass(frozen=True, eq=False)
class _Decoded:
    """An image as the base's input, or the reason why there is none."""

    pixels: Tensor | None = None
    applied: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class _Chunk:
    """A batch's images, some of one part's; `last` says that the part ends with it."""

    part: int
    start: int
    names: tuple[str, ...]
    last: bool


class Answerer:
    """A generalist on one device; not to be used from two threads at once."""

    def __init__(self, work: Work, device: str) -> None:
        """Load everything.

        Raises:
            JobError: the directory holds another generalist than the job's.
            MedLegoError: it, its base or the mode is not to be had.
        """
        generalist = Generalist.load(work.directory)
        if (digest := generalist.recipe.digest) != work.generalist:
            raise JobError(
                f"{work.directory}: expected generalist {work.generalist[:12]}…, got "
                f"{digest[:12]}…; it was edited meanwhile, start again"
            )
        self._work = work
        base = Base.find(generalist.base, weights=work.base_weights)
        self._engine = Engine(generalist, base, mode=work.mode, device=device)
        self._tasks = self._engine.tasks_to_ask(work.task, every_task=work.every_task)
        self._workers = work.workers or min(MOST_WORKERS, os.cpu_count() or 1)
        self._bricks = self._engine.digests()

    def answer(self, parts: Iterable[JobPart]) -> Iterator[PartRows]:
        """Each part's number and its rows as a Parquet file, in the order of the parts."""
        rows: list[Row] = []
        for chunk, decoded in self._decoded_ahead(parts):
            rows += self._rows(chunk, decoded)
            if chunk.last:
                yield chunk.part, table_bytes(rows)
                rows = []

    def _decoded_ahead(self, parts: Iterable[JobPart]) -> Iterator[tuple[_Chunk, list[_Decoded]]]:
        pool = ThreadPoolExecutor(self._workers, "decode")
        waiting: deque[tuple[_Chunk, list[Future[_Decoded]]]] = deque()
        try:
            for chunk in _chunks(parts, self._work.batch_size):
                waiting.append((chunk, [pool.submit(self._decode, name) for name in chunk.names]))
                if len(waiting) > AHEAD:
                    first, futures = waiting.popleft()
                    yield first, [future.result() for future in futures]
            for first, futures in waiting:
                yield first, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, name: str) -> _Decoded:
        try:
            image = read_image(self._work.root / name, any_object=self._work.any_object)
            return _Decoded(self._engine.base.prepare(image), image.applied)
        except ImageError as error:
            self._check_root(name)
            return _Decoded(why=str(error))
        except Exception as error:  # one image of millions must not end the job
            return _Decoded(
                why=f"{self._work.root / name}: expected an image that can be read, got one that "
                f"ends in {type(error).__name__}; report it"
            )

    def _check_root(self, name: str) -> None:
        """See that an image is to blame for itself, not a disk or share that went away.

        Raises:
            JobError: the images' folder is gone, or empty as where a share was mounted.
        """
        root = self._work.root
        try:
            with os.scandir(root) as entries:
                exists = Path(name).is_absolute() or next(entries, None) is not None
        except OSError:
            exists = False
        if not exists:
            raise JobError(
                f"{root}: expected the images' folder, found it gone or empty; mount it again and "
                "start again, what is done is kept"
            )

    def _rows(self, chunk: _Chunk, decoded: Sequence[_Decoded]) -> list[Row]:
        pixels = [image.pixels for image in decoded if image.pixels is not None]
        predictions = iter(self._engine.predict(torch.stack(pixels), self._tasks) if pixels else ())
        rows: list[Row] = []
        for position, (name, image) in enumerate(
            zip(chunk.names, decoded, strict=True), chunk.start
        ):
            if image.pixels is None:
                rows.append(unreadable_row(position, name, image.why))
            else:
                prediction = replace(next(predictions), image=name, applied=image.applied)
                rows += rows_of(position, prediction, self._bricks)
        return rows


def _chunks(parts: Iterable[JobPart], size: int) -> Iterator[_Chunk]:
    for part in parts:
        for start in range(0, len(part.names), size):
            names = part.names[start : start + size]
            last = start + size >= len(part.names)
            yield _Chunk(part.number, part.start + start, names, last)
