"""What the routes call: one generalist's directory, its decoders and its model's thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlego.errors import ImageError
from medlego.prediction import Prediction
from medlego.serve.batching import Batcher, Tasks
from medlego.serve.decoding import Decoders, FittedImage
from medlego.serve.limits import ServiceLimits
from medlego.serve.logs import log
from medlego.serve.metrics import ServiceMetrics
from medlego.serve.reload import Model, Reloader
from medlego.support import NoPickle


class UploadError(ImageError):
    """Images of a request that cannot be read; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, eq=False)
class RequestAnswers:
    """A request's answers by one model; `images` fitted to its input, or to the size asked for."""

    model: Model
    images: list[FittedImage]
    answers: list[Prediction]


class Service(NoPickle, instead="start one on the same directory there"):
    """Started and closed by the app's lifespan; everything between is for the event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        base_weights: Path | None = None,
        device: str = "cpu",
        limits: ServiceLimits = ServiceLimits(),
        decoders: Decoders | None = None,
        poll_s: float = 1.0,
    ) -> None:
        """Load the generalist.

        Args:
            directory: a generalist's; edits of it are followed.
            base_weights: file of its base; found by fingerprint when left out.
            device: `cpu` or `cuda`.
            limits: on every request and on all together.
            decoders: shared ones, started and closed by their owner; its own when left out.
            poll_s: seconds between checks of the directory.

        Raises:
            MedLegoError: the directory or its base cannot be read.
        """
        self.limits = limits
        self.metrics = ServiceMetrics()
        self.reloader = Reloader(
            directory, base_weights=base_weights, device=device, on_change=self._reloaded
        )
        self.decoders = decoders or Decoders(limits)
        self._own_decoders = decoders is None
        self.batcher = Batcher(limits, self.metrics.batches.observe)
        self._poll_s = poll_s
        self._following: asyncio.Task[None] | None = None
        self.open = False
        add = self.metrics.gauge
        add("medlego_waiting_images", "Images that wait.", lambda: self.batcher.waiting)
        add("medlego_entry", "Lineage entry that answers.", lambda: self.model.entry)
        about = "1 where an older state answers, since the present one cannot be read."
        add("medlego_directory_broken", about, lambda: self.reloader.problem is not None)

    @property
    def model(self) -> Model:
        """The state that answers new requests."""
        return self.reloader.model

    async def start(self) -> None:
        """Start decoders and the model's thread, and follow the directory."""
        if self._own_decoders:
            await self.decoders.start()
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
        if self._own_decoders:
            await asyncio.to_thread(self.decoders.close)

    async def predict(
        self,
        uploads: Sequence[bytes],
        task: str | None = None,
        *,
        every_task: bool = False,
        view_size: int | None = None,
        identify: bool = False,
    ) -> RequestAnswers:
        """Answer files as `medlego.predict` does, all by one state of the generalist.

        Args:
            uploads: contents of image files.
            task: ask this task of every image, whatever its content.
            every_task: ask every task of every image.
            view_size: side in pixels that the images are returned with; the model's when left out.
            identify: return whose images they are, too.

        Raises:
            UploadError: no file can be read.
            GeneralistError: no such task.
        """
        model = self.model
        tasks = model.engine.tasks_to_ask(task, every_task=every_task)
        side = model.base.ref.image_size
        sizes = [side] if view_size is None else [side, view_size]
        decoded = await self.decode(uploads, sizes, identify=identify)
        read = [fitted for fitted in decoded if not isinstance(fitted, ImageError)]
        answers = await self.answer(model, [fitted[0] for fitted in read], tasks)
        self.metrics.answered(answers)
        answered = iter(answers)
        predictions = [
            Prediction("", (), (), problem=str(fitted))
            if isinstance(fitted, ImageError)
            else replace(next(answered), applied=fitted[-1].applied)
            for fitted in decoded
        ]
        return RequestAnswers(model, [fitted[-1] for fitted in read], predictions)

    async def answer(
        self, model: Model, images: Sequence[FittedImage], tasks: Tasks
    ) -> list[Prediction]:
        """Answer images, fitted to a model's input, as `Engine.tasks_to_ask` says."""
        futures = [self.batcher.submit(model, image.pixels, tasks) for image in images]
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    async def decode(
        self, uploads: Sequence[bytes], sizes: Sequence[int], *, identify: bool = False
    ) -> list[list[FittedImage] | ImageError]:
        """Decode files once, each fitted to network inputs of these sizes; see `Decoders.decode`.

        Raises:
            UploadError: no file can be read.
        """
        decoded = await asyncio.gather(
            *(self.decoders.decode(content, sizes, identify=identify) for content in uploads),
            return_exceptions=True,
        )
        outcomes: list[list[FittedImage] | ImageError] = []
        for one in decoded:
            if isinstance(one, BaseException) and not isinstance(one, ImageError):
                raise one
            outcomes.append(one)
        problems = [
            f"image {number}: {one}"
            for number, one in enumerate(outcomes, 1)
            if isinstance(one, ImageError)
        ]
        self.metrics.unreadable.inc(len(problems))
        if len(problems) == len(outcomes):
            raise UploadError(problems)
        return outcomes

    async def decode_one(
        self, upload: bytes, sizes: Sequence[int], *, identify: bool = False
    ) -> list[FittedImage]:
        """As `decode`, of one file.

        Raises:
            UploadError: it cannot be read.
        """
        (fitted,) = await self.decode([upload], sizes, identify=identify)
        assert not isinstance(fitted, ImageError), "decode refuses where no file can be read"
        return fitted

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await asyncio.to_thread(self.reloader.check)

    def _reloaded(self, outcome: str) -> None:
        self.metrics.reloads.labels(outcome).inc()
        level = logging.INFO if outcome == "reloaded" else logging.WARNING
        why = {"problem": self.reloader.problem} if self.reloader.problem else {}
        log(outcome, level, generalist=self.model.digest, entry=self.model.entry, **why)
