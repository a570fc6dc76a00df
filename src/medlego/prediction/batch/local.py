"""A job on this machine: one model a device, each taking the next part when it is ready for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import torch

from medlego.prediction.batch.answering import Answerer, Work
from medlego.prediction.batch.listing import JobPart, PartRows


def local_devices(device: str) -> tuple[str, ...]:
    """`cuda` is every GPU there is."""
    if device != "cuda":
        return (device,)
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def run_local(work: Work, parts: Iterator[JobPart], devices: Sequence[str]) -> Iterator[PartRows]:
    """Each part's number and rows, as they get done.

    Raises:
        MedLegoError: the generalist or its base is not to be had.
    """
    answerers = [Answerer(work, device) for device in devices]
    if len(answerers) == 1:
        yield from answerers[0].answer(parts)
    else:
        yield from _side_by_side(answerers, parts)


def _side_by_side(answerers: Sequence[Answerer], parts: Iterator[JobPart]) -> Iterator[PartRows]:
    """A thread for each device; they end soon after the one that takes what they made does."""
    shared = _Shared(parts)
    results: SimpleQueue[PartRows | BaseException | None] = SimpleQueue()

    def drive(answerer: Answerer) -> None:
        try:
            for done in answerer.answer(shared):
                results.put(done)
        except BaseException as error:
            results.put(error)
        else:
            results.put(None)

    for answerer in answerers:
        threading.Thread(target=drive, args=(answerer,), daemon=True).start()
    left = len(answerers)
    try:
        while left:
            match results.get():
                case None:
                    left -= 1
                case BaseException() as error:
                    raise error
                case done:
                    yield done
    finally:
        shared.close()


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, parts: Iterator[JobPart]) -> None:
        self._parts, self._lock, self._open = parts, threading.Lock(), True

    def __iter__(self) -> Iterator[JobPart]:
        return self

    def __next__(self) -> JobPart:
        with self._lock:
            if not self._open:
                raise StopIteration
            return next(self._parts)

    def close(self) -> None:
        self._open = False
