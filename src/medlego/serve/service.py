"""What the routes call: one generalist's directory, its readers and its model's thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlego.errors import ImageError
from medlego.prediction import Found, tasks_to_ask
from medlego.serve.batching import Batcher
from medlego.serve.decoding import Fitted, Readers
from medlego.serve.limits import ServiceLimits
from medlego.serve.logs import log
from medlego.serve.metrics import ServiceMetrics
from medlego.serve.reload import Keeper, Model


class UploadError(ImageError):
    """Images of a request that cannot be read; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, eq=False)
class RequestAnswers:
    """A request's answers by one model; `images` as it saw each, `views` of the size asked for."""

    model: Model
    images: list[Fitted]
    views: list[Fitted]
    found: list[Found]


class Service:
    """Started and closed by the app's lifespan; everything between is for the event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        base_weights: Path | None = None,
        device: str = "cpu",
        limits: ServiceLimits = ServiceLimits(),
        readers: Readers | None = None,
        poll_s: float = 1.0,
    ) -> None:
        """Load the generalist.

        Args:
            directory: a generalist's; followed when it is edited.
            base_weights: file of its base; found by fingerprint when left out.
            device: `cpu` or `cuda`.
            limits: on every request and on all together.
            readers: shared ones, started and closed by whoever shares them; its own when left out.
            poll_s: how often the directory is looked at.

        Raises:
            MedLegoError: the directory or its base cannot be read.
        """
        self.limits = limits
        self.metrics = ServiceMetrics()
        self.keeper = Keeper(
            directory, base_weights=base_weights, device=device, told=self._reloaded
        )
        self.readers = readers or Readers(limits)
        self._own_readers = readers is None
        self.batcher = Batcher(limits, self.metrics.batch)
        self._poll_s = poll_s
        self._following: asyncio.Task[None] | None = None
        self.open = False
        self._add_gauges()

    @property
    def model(self) -> Model:
        """The state that new requests are answered by."""
        return self.keeper.model

    async def start(self) -> None:
        """Have reading processes and the model's thread ready, and follow the directory."""
        if self._own_readers:
            await self.readers.start()
        self.batcher.start()
        self._following = asyncio.create_task(self._follow())
        self.open = True

    async def close(self) -> None:
        """Answer what is under way, then end threads and processes."""
        self.open = False
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await asyncio.to_thread(self.batcher.close)
        if self._own_readers:
            await asyncio.to_thread(self.readers.close)

    async def predict(
        self,
        uploads: Sequence[bytes],
        task: str | None = None,
        *,
        every_task: bool = False,
        view_size: int | None = None,
    ) -> RequestAnswers:
        """Answer files as `medlego.predict` does, all by one state of the generalist.

        Args:
            uploads: contents of image files.
            task: ask this task of every image, whatever it looks like.
            every_task: ask every task of every image.
            view_size: pixels a side of the views, which are not made where it is left out.

        Raises:
            UploadError: files that cannot be read; none is answered then.
            GeneralistError: no such task.
        """
        model = self.model
        asked = tasks_to_ask(model.running, task, every_task=every_task)
        sizes = [model.base.ref.image_size] + [view_size] * (view_size is not None)
        read = await self.read(uploads, sizes)
        images, views = [one[0] for one in read], [view for one in read for view in one[1:]]
        futures = [self.batcher.submit(model, image.pixels, asked) for image in images]
        found = await asyncio.gather(*map(asyncio.wrap_future, futures))
        self.metrics.answered(found)
        return RequestAnswers(model, images, views, found)

    async def read(
        self, uploads: Sequence[bytes], sizes: Sequence[int | None] = (None,)
    ) -> list[tuple[Fitted, ...]]:
        """Decode files once, each fitted to network inputs of these sizes; see `Readers.read`.

        Raises:
            UploadError: files that cannot be read.
        """
        read = await asyncio.gather(
            *(self.readers.read(content, sizes) for content in uploads), return_exceptions=True
        )
        images: list[tuple[Fitted, ...]] = []
        problems: list[str] = []
        for number, one in enumerate(read, 1):
            if isinstance(one, ImageError):
                problems.append(f"image {number}: {one}")
            elif isinstance(one, BaseException):
                raise one
            else:
                images.append(one)
        if problems:
            self.metrics.unreadable(len(problems))
            raise UploadError(problems)
        return images

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await asyncio.to_thread(self.keeper.check)

    def _reloaded(self, outcome: str) -> None:
        self.metrics.reload(outcome)
        level = logging.INFO if outcome == "reloaded" else logging.WARNING
        told = {"problem": self.keeper.problem} if self.keeper.problem else {}
        log(outcome, level, generalist=self.model.digest, entry=self.model.entry, **told)

    def _add_gauges(self) -> None:
        add = self.metrics.gauge
        add("medlego_waiting_images", "Images that wait.", lambda: self.batcher.waiting)
        add("medlego_entry", "Lineage entry that answers.", lambda: self.model.entry)
        add(
            "medlego_directory_broken",
            "1 where an older state answers, since the present one cannot be read.",
            lambda: self.keeper.problem is not None,
        )
