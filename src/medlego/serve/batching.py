"""Images of all requests, answered together by the one thread that owns the model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medlego.prediction import Prediction
from medlego.serve.limits import ServiceLimits
from medlego.serve.problem_json import RequestError
from medlego.serve.reload import Model

Tasks = tuple[str, ...] | None
"""As `medlego.prediction.Engine.tasks_to_ask`."""


@dataclass(frozen=True, eq=False)
class _Item:
    model: Model
    tasks: Tasks
    pixels: Tensor
    future: Future[Prediction] = field(default_factory=Future)


class Batcher:
    """A queue of images and the thread that empties it."""

    def __init__(
        self, limits: ServiceLimits, on_batch: Callable[[int], None] = lambda _images: None
    ) -> None:
        """`on_batch` is called with the number of images of every batch."""
        self._limits, self._on_batch = limits, on_batch
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="medlego-model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    @property
    def lives(self) -> bool:
        """Whether images are answered."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Images that no batch has taken yet."""
        return self._queue.qsize()

    def submit(self, model: Model, pixels: Tensor, tasks: Tasks) -> Future[Prediction]:
        """Queue one image, (3, size, size) in [0, 1]; a cancelled one is left out.

        Raises:
            RequestError: nothing answers any more.
        """
        if not self.lives:
            raise RequestError(503, ["service: expected a running model, got none; restart it"])
        item = _Item(model, tasks, pixels)
        self._queue.put(item)
        return item.future

    def _work(self) -> None:
        open_ = True
        while open_:
            items, open_ = self._collect()
            batches: dict[tuple[int, Tasks], list[_Item]] = {}
            for item in items:
                if item.future.set_running_or_notify_cancel():
                    batches.setdefault((id(item.model), item.tasks), []).append(item)
            for batch in batches.values():
                self._on_batch(len(batch))
                _answer(batch)

    def _collect(self) -> tuple[list[_Item], bool]:
        """The next images, and whether there may be more; waits a moment for a fuller batch."""
        first = self._queue.get()
        if first is None:
            return [], False
        items, until = [first], time.monotonic() + self._limits.batch_wait_s
        while len(items) < self._limits.batch_images:
            try:
                more = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if more is None:
                return items, False
            items.append(more)
        return items, True


def _answer(items: Sequence[_Item]) -> None:
    """Answer one batch of one model and the same tasks."""
    try:
        pixels = torch.stack([item.pixels for item in items])
        answers = items[0].model.engine.predict(pixels, items[0].tasks)
    except Exception as error:
        for item in items:
            item.future.set_exception(error)
        return
    for item, answer in zip(items, answers, strict=True):
        item.future.set_result(answer)
